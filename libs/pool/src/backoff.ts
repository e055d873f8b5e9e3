import type { Clock } from '#libs/common';

/** TorchServe's delays between restarts, in seconds; the last one repeats. */
const DELAYS_S = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597];

/** Workers that fail together must not all load again at the same moment. */
const JITTER = 0.1;

/** When a failed worker is started again: TorchServe's delays, up to 10 % longer, within a budget of time. */
export class Backoff {
  readonly #windowMs: number;
  readonly #clock: Clock;
  readonly #random: () => number;
  #failures = 0;
  #firstFailureAt = 0;

  /**
   * @param windowMs how long after the first failure since the last success a restart may still begin to wait
   * @param random from 0 up to 1
   */
  constructor(windowMs: number, clock: Clock, random: () => number = Math.random) {
    this.#windowMs = windowMs;
    this.#clock = clock;
    this.#random = random;
  }

  /** Counts a failure. Milliseconds until the next start, or `undefined` when the budget is spent. */
  next(): number | undefined {
    const now = this.#clock.now();
    if (this.#failures === 0) this.#firstFailureAt = now;
    if (now - this.#firstFailureAt >= this.#windowMs) return undefined;
    const seconds = DELAYS_S[Math.min(this.#failures, DELAYS_S.length - 1)] ?? 0;
    this.#failures += 1;
    return seconds * 1000 * (1 + JITTER * this.#random());
  }

  /** A start succeeded, or somebody asks for a fresh try: the next failure is the first again. */
  reset(): void {
    this.#failures = 0;
  }
}
