import { toMarlineError, type Clock, type MarlineError } from '#libs/common';

/** What an autoscaler sees and does. */
export interface AutoscalerOptions {
  readonly clock: Clock;
  readonly queue: {
    readonly pendingRequests: number;
    /** Milliseconds that the oldest waiting request has waited. */
    readonly oldestWaitMs: number;
  };
  readonly workers: {
    /** Workers wanted. */
    readonly target: number;
    /** Of these, workers that have loaded. */
    readonly readyCount: number;
    readonly idleCount: number;
  };
  /** Changes the number of workers wanted; rejects when one that is added does not start. */
  readonly resize: (count: number) => Promise<void>;
  /** Milliseconds that a request may wait before a worker is added. */
  readonly scaleUpQueueMs: number;
  /** Milliseconds for which a worker must have had nothing to do before one is taken away. */
  readonly scaleDownIdleMs: number;
  /** A worker could not be added; the next attempt is made no sooner than after `retryMs`. */
  readonly failed: (error: MarlineError, retryMs: number) => void;
}

/** A queue is late only when it is found late this often in a row: a burst that the workers there soon finish needs no more of them. */
const LATE_LOOKS = 2;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 60_000;

/**
 * Keeps the number of workers of one version between its minWorkers and maxWorkers, one step at a time: one more when
 * requests wait too long although every worker is busy, one less when a worker was spare all the time. A step up is not
 * followed by another before the new worker is ready and the queue was found late again; a step down not before
 * another idle period. It never goes below one worker: without any, requests are refused, and nothing would call for one.
 *
 * It is told what happens and sets timers only then: none runs for a fixed number of workers, none while nothing waits
 * and the fewest workers are there.
 */
export class Autoscaler {
  readonly #options: AutoscalerOptions;
  #min = 0;
  /** 0 while nothing is to be scaled. */
  #max = 0;
  #late = 0;
  #stepping = false;
  #spareSince = 0;
  #retryMs = FIRST_RETRY_MS;
  #notBefore = 0;
  #cancelLook: (() => void) | undefined;
  #cancelShrink: (() => void) | undefined;
  /** Changes with every start and stop: what an older step finds out is of no interest any more. */
  #round = 0;

  constructor(options: AutoscalerOptions) {
    this.#options = options;
  }

  /** Scales within this range from now on. */
  start(minWorkers: number, maxWorkers: number): void {
    this.stop();
    this.#min = Math.max(1, minWorkers);
    if (maxWorkers <= this.#min) return;
    this.#max = maxWorkers;
    this.#retryMs = FIRST_RETRY_MS;
    this.#notBefore = 0;
    this.#rearm();
  }

  /** Leaves the number of workers as it is. */
  stop(): void {
    this.#round++;
    this.#max = 0;
    this.#stepping = false;
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    this.#cancelShrink?.();
    this.#cancelShrink = undefined;
  }

  /** A request came. Called for every one, so it only makes sure that the queue is looked at in time. */
  requested(): void {
    if (this.#cancelLook !== undefined || this.#stepping || this.#options.workers.target >= this.#max) return;
    this.#late = 0;
    this.#lookIn(this.#options.scaleUpQueueMs);
  }

  /** A worker became idle and has not been given new work yet. */
  freed(): void {
    // When it is the only one, every worker was busy until now.
    if (this.#max > 0 && this.#options.workers.idleCount <= 1) this.#spareSince = this.#options.clock.now();
  }

  #lookIn(delayMs: number): void {
    this.#cancelLook = this.#options.clock.after(Math.max(1, delayMs), () => {
      this.#cancelLook = undefined;
      this.#look();
    });
  }

  #look(): void {
    const { queue, workers, clock, scaleUpQueueMs } = this.#options;
    if (queue.pendingRequests === 0 || workers.target >= this.#max) return;
    const restMs = this.#notBefore - clock.now();
    if (restMs > 0) {
      this.#lookIn(restMs);
      return;
    }
    const waitMs = queue.oldestWaitMs;
    // A batch that waits to be filled, or workers that have yet to start, are no reason for one more.
    const allBusy = workers.idleCount === 0 && workers.readyCount === workers.target;
    if (!allBusy || waitMs < scaleUpQueueMs) {
      this.#late = 0;
      this.#lookIn(waitMs < scaleUpQueueMs ? scaleUpQueueMs - waitMs : scaleUpQueueMs);
    } else if (++this.#late < LATE_LOOKS) {
      this.#lookIn(scaleUpQueueMs);
    } else {
      void this.#step(workers.target + 1);
    }
  }

  #shrinkIn(delayMs: number): void {
    this.#cancelShrink = this.#options.clock.after(delayMs, () => {
      this.#cancelShrink = undefined;
      this.#shrink();
    });
  }

  #shrink(): void {
    const { workers, clock, scaleDownIdleMs } = this.#options;
    if (workers.target <= this.#min) return;
    if (workers.idleCount === 0) this.#spareSince = clock.now();
    const restMs = this.#spareSince + scaleDownIdleMs - clock.now();
    if (restMs > 0 || this.#stepping) this.#shrinkIn(restMs > 0 ? restMs : scaleDownIdleMs);
    else void this.#step(workers.target - 1);
  }

  async #step(count: number): Promise<void> {
    const { workers, resize, clock, failed } = this.#options;
    const before = workers.target;
    const round = this.#round;
    this.#stepping = true;
    try {
      await resize(count);
      if (round === this.#round) this.#retryMs = FIRST_RETRY_MS;
    } catch (error) {
      if (round !== this.#round) return;
      this.#notBefore = clock.now() + this.#retryMs;
      failed(toMarlineError(error), this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
      // The place must not stay: it would be tried again and again beside the workers that are well.
      await resize(before).catch(() => {});
    }
    if (round !== this.#round) return;
    this.#stepping = false;
    this.#rearm();
  }

  /** After a change: whatever must be seen in time from here on. */
  #rearm(): void {
    this.#spareSince = this.#options.clock.now();
    this.#late = 0;
    if (this.#cancelShrink === undefined && this.#options.workers.target > this.#min)
      this.#shrinkIn(this.#options.scaleDownIdleMs);
    if (this.#options.queue.pendingRequests > 0) this.requested();
  }
}
