import { BatchSizer } from './batch-sizer.js';
import { RunTimes } from './run-times.js';

/** So much predicted work may go to a worker at once: waking a thread costs more than a run of a very small model. */
const HAND_OVER_MS = 0.5;
/** Less predicted work than this is neither spread over idle workers nor given to a second one, for the same reason. */
const LITTLE_MS = 0.4;
/** What the way to a worker and back takes beside the run. */
const TRANSPORT_MS = 0.1;
/** Predictions are averages: by so much more of itself may take longer what is to be in time … */
const LEAST_MARGIN = 0.2;
/** … and by so many times what runs miss their prediction by. */
const MARGIN_SCATTERS = 2;
/** A batch that waits is closed so much earlier, too. */
const MARGIN_MS = 1;

/** What is known of the runs to come, learned from those that were, and what follows from it for the next ones. */
export class RunForecast {
  readonly #times = new RunTimes();
  readonly #sizer: BatchSizer | undefined;
  /** When the batch that went out last is expected back. */
  #backAt = 0;

  /**
   * @param adaptive true: the size of a run is learned too
   * @param handsOver true: several runs' worth may go out at once
   */
  constructor(
    adaptive: boolean,
    private readonly handsOver: boolean,
  ) {
    this.#sizer = adaptive ? new BatchSizer() : undefined;
  }

  /** A worker spent `durationMs` on `items`. */
  learn(items: number, durationMs: number): void {
    this.#times.observe(items, durationMs);
    this.#sizer?.observe(items, durationMs);
  }

  /** A batch of `items` goes out at `now`. */
  sent(items: number, now: number): void {
    this.#backAt = now + this.runMs(items) + TRANSPORT_MS;
  }

  /** Milliseconds that a run of `items` will take; 0 while that is unknown. */
  runMs(items: number): number {
    return this.#times.predict(items) ?? 0;
  }

  /** Items that a run should have at most. */
  runSize(most: number): number {
    return this.#sizer?.limit(most) ?? most;
  }

  /** How many of `waiting` items one of `idle` workers should take. */
  share(waiting: number, idle: number, most: number): number {
    const size = this.runSize(most);
    const perItemMs = this.runMs(size) / size;
    if (perItemMs === 0) return size;
    const handOver = this.handsOver ? Math.max(size, Math.floor(HAND_OVER_MS / perItemMs)) : size;
    if (perItemMs * waiting <= LITTLE_MS) return handOver;
    const fair = Math.ceil(waiting / idle);
    return Math.max(this.#sizer === undefined ? size : 1, Math.min(handOver, fair));
  }

  /** True for several items that are known to be little work, which one worker takes together. */
  isLittle(waiting: number): boolean {
    if (waiting < 2 || !(this.handsOver || this.#sizer !== undefined)) return false;
    const workMs = this.#times.predict(waiting);
    return workMs !== undefined && workMs <= LITTLE_MS;
  }

  /** Milliseconds until a busy worker is back that will have done `waiting` items before another could be woken; 0 when none will. */
  soonBackMs(waiting: number, now: number): number {
    const workMs = this.#times.predict(waiting);
    const leftMs = this.#backAt - now;
    return workMs !== undefined && workMs <= LITTLE_MS && leftMs <= LITTLE_MS + TRANSPORT_MS
      ? Math.max(0, leftMs)
      : 0;
  }

  /**
   * Milliseconds until a request is answered that comes while all `workers` are busy and `ahead` others go before it;
   * `undefined` while that is unknown.
   */
  answeredMs(ahead: number, workers: number, most: number): number | undefined {
    const underWayMs = this.#times.typical;
    if (underWayMs === undefined || workers === 0) return undefined;
    const size = this.runSize(most);
    const fullRunsMs = Math.floor(ahead / size) * this.runMs(size);
    // The workers are half-way through their runs, on average.
    return (underWayMs / 2 + fullRunsMs) / workers + this.runMs((ahead % size) + 1);
  }

  /** What is expected to take `expectedMs` may take so long: a run that ends behind its deadline would be wasted. */
  atWorst(expectedMs: number): number {
    return this.#margin * expectedMs;
  }

  /** When a run of `items` must begin so that it ends before `deadlineAt`. */
  latestStart(items: number, deadlineAt: number): number {
    return deadlineAt - MARGIN_MS - this.#margin * this.runMs(items);
  }

  get #margin(): number {
    return 1 + Math.max(LEAST_MARGIN, MARGIN_SCATTERS * this.#times.scatter);
  }
}
