import { PredictionException } from '../handler-errors.js';

/** Probabilities of scores, which they sum up to 1. */
export function softmax(scores: readonly number[]): number[] {
  // Relative to the largest, so that no exponential overflows.
  const largest = scores.reduce((max, score) => Math.max(max, score), -Infinity);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** What the caller is told when a model gave something else than it promised, or than its handler can read: 500 with the text. */
export function unreadable(handler: string, problem: string): PredictionException {
  return new PredictionException(`${handler} cannot read the answer of the model: ${problem}.`);
}
