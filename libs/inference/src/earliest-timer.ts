import type { Clock } from '#libs/common';

/**
 * One timer for many points in time: set for the earliest of them. It may fire in vain, when what it was set for is gone, which is
 * cheaper than keeping the points sorted. Whoever is called looks at all that is due and sets it for the next one.
 */
export class EarliestTimer {
  #at = Infinity;
  #cancel: () => void = () => {};

  constructor(
    private readonly clock: Clock,
    private readonly fire: () => void,
  ) {}

  /** When it fires; infinite while it is not set. */
  get at(): number {
    return this.#at;
  }

  /** Fires at this time of the clock, or before. Infinite: changes nothing. */
  by(at: number): void {
    if (at >= this.#at) return;
    this.#cancel();
    this.#at = at;
    this.#cancel = this.clock.after(at - this.clock.now(), () => {
      this.#at = Infinity;
      this.fire();
    });
  }

  /** Does not fire, until it is set again. */
  cancel(): void {
    this.#cancel();
    this.#at = Infinity;
  }
}
