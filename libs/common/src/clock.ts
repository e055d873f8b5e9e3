/** Time as a dependency, so that time-outs and delays are tested without sleeping. */
export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** Calls `callback` once after `delayMs`; the returned function cancels it. The timer does not keep the process alive. */
  after(delayMs: number, callback: () => void): () => void;
  /** Calls `callback` once at the end of this turn of the event loop: what arrives in one turn can be treated together. */
  soon(callback: () => void): void;
}

/** A longer delay makes Node's timer fire at once. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** The clock of the process. Delays above 24.8 days, infinite ones included, are cut to that. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(delayMs, LONGEST_DELAY_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
  soon: (callback) => void setImmediate(callback),
};

/** A clock for tests: time moves only when it is told to. A turn ends within the call unless {@link ManualClock.holdTurn} was called. */
export class ManualClock implements Clock {
  #now = 0;
  #held: (() => void)[] | undefined;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, delayMs), callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(callback: () => void): void {
    if (this.#held === undefined) callback();
    else this.#held.push(callback);
  }

  /** From now on what is to be called {@link Clock.soon} waits for {@link ManualClock.endTurn}. */
  holdTurn(): void {
    this.#held ??= [];
  }

  /** Ends the turn that was held, and goes on holding. */
  endTurn(): void {
    for (const callback of this.#held?.splice(0) ?? []) callback();
  }

  /** Moves time forward and calls what becomes due, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
  }
}
