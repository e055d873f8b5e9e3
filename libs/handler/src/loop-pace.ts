import { setImmediate as nextTurn } from 'node:timers/promises';

/** A turn of the event loop costs as much as several very short runs, and waking the main thread for an answer still more. */
const LONGEST_MS = 0.5;

/**
 * Lets the event loop of a worker turn between runs, each of which blocks it: answers leave and messages arrive in a turn. Runs that
 * are very short share one.
 */
export class LoopPace {
  #turnedAt = 0;

  /** Call it first in what the event loop calls: a turn begins here. */
  begin(): void {
    this.#turnedAt = performance.now();
  }

  /** What to wait for before the next run; `undefined` when the last turn is not long ago. */
  rest(): Promise<void> | undefined {
    return performance.now() - this.#turnedAt < LONGEST_MS ? undefined : this.#turn();
  }

  async #turn(): Promise<void> {
    await nextTurn();
    this.begin();
  }
}
