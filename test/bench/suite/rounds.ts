/** Rounds of a measurement: `ROUNDS`, 10 by default. */
import { MODELS, ensureModels, type BenchModel } from '../peers/models.js';

export const ROUNDS = fromEnvironment('ROUNDS', 10);

/** Length of one measurement in seconds: `SECONDS`, or what the program takes without it. */
export function secondsOr(fallback: number): number {
  return fromEnvironment('SECONDS', fallback);
}

/** A number from 0 up of the environment. @throws Error when it is something else */
export function fromEnvironment(name: string, fallback: number): number {
  const text = process.env[name];
  const value = text === undefined ? fallback : Number(text);
  if (!(value > 0)) throw new Error(`${name} is ${text}; give a number above 0.`);
  return value;
}

/** Those of a list that the variable names (separated by commas), or all. @throws Error for a name that is not there */
export function chosen<T extends { readonly name: string }>(variable: string, all: readonly T[]): T[] {
  const names = process.env[variable]?.split(',') ?? all.map(({ name }) => name);
  return names.map((name) => {
    const found = all.find((item) => item.name === name);
    if (found !== undefined) return found;
    throw new Error(`${variable}: there is no ${name}; there are ${all.map(({ name }) => name).join(', ')}.`);
  });
}

/** Those of the benchmark's models that MODELS names, or all of them, made where they are missing. */
export function chosenModels(names: readonly string[]): BenchModel[] {
  const models = chosen(
    'MODELS',
    MODELS.filter(({ name }) => names.includes(name)),
  );
  ensureModels(models);
  return models;
}

/** Measures each item once a round, forwards and backwards in turns (ABBA), one after the other. */
export async function interleave<T>(
  items: readonly T[],
  measure: (item: T, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    for (const item of round % 2 === 0 ? items : items.toReversed()) await measure(item, round);
    process.stderr.write(`round ${round + 1} of ${ROUNDS}\n`);
  }
}

/** Values by a name, in the order in which they were added. */
export class Samples {
  readonly #values = new Map<string, number[]>();

  add(name: string, value: number): void {
    const values = this.#values.get(name);
    if (values === undefined) this.#values.set(name, [value]);
    else values.push(value);
  }

  of(name: string): number[] {
    return this.#values.get(name) ?? [];
  }

  /** Two of them, round by round: their difference, their ratio, … */
  pair(one: string, other: string, combine: (one: number, other: number) => number): number[] {
    const others = this.of(other);
    return this.of(one).map((value, round) => combine(value, others[round] ?? Number.NaN));
  }
}
