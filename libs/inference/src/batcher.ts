import { MarlineError, type Clock } from '#libs/common';
import type { BatchingPolicy, Queued, Standing } from './batching-policy.js';
import { EarliestTimer } from './earliest-timer.js';
import { expired, type AnswerBounds } from './pending-answer.js';
import type { Priority } from './prediction.js';
import { RunForecast } from './run-forecast.js';
import { WaitingLine, type Place } from './waiting-line.js';

/** What a batcher is told. What is a function is asked each time, because it may change while it works. */
export interface BatcherOptions<T> {
  /** Most items of one run, now; below 1 counts as 1. */
  readonly batchSize: () => number;
  /** True: the size of a run is learned, up to `batchSize`. */
  readonly adaptive?: boolean;
  /** True: a change of the size of runs stops a worker, so what waits is taken by powers of two, unless a size is learned or a delay is set. */
  readonly steady?: () => boolean;
  /** True: a worker may get several runs' worth of a very small model at once. False by default: one run, one hand-over. */
  readonly handsOver?: boolean;
  /** Milliseconds that a batch waits to fill, from the moment a worker could take its first item. 0: never waits. */
  readonly maxBatchDelayMs: number;
  /** Most requests that may wait; one more is refused. */
  readonly queueSize: number;
  readonly clock: Clock;
  /** Workers that are idle. */
  readonly idle: () => number;
  /** Workers that are idle or busy. */
  readonly ready: () => number;
  /**
   * Takes the batch over: from here on its deadlines and signals are not watched any more. `delayedMs` is how long an idle
   * worker waited for it to fill. Must not throw.
   */
  readonly dispatch: (batch: readonly Queued<T>[], delayedMs: number) => void;
  /** The error of a request that finds the queue full. */
  readonly full: () => MarlineError;
  /** The error of a request that would be answered only `expectedMs` from now, after its deadline. */
  readonly overloaded: (expectedMs: number, bounds: AnswerBounds) => MarlineError;
}

interface Entry<T> extends Queued<T> {
  readonly alone: boolean;
  place: Place<Entry<T>> | undefined;
  onAbort: (() => void) | undefined;
  readonly onDropped: (error: MarlineError) => void;
}

/**
 * Groups requests into batches: by priority, fair between tenants, first come first served. It never looks into an item and
 * does no I/O; time is injected.
 *
 * - It is work-conserving: while a worker is idle a request leaves at the end of the event loop's turn that brought it,
 *   together with what else came in that turn, unless a batch delay is set. With every worker busy the queue fills, and the
 *   next idle worker takes what it can at once. There are two exceptions for very small models, a fraction of a millisecond
 *   long: several requests that came together wait one more turn for others, and what a busy worker will have done sooner than
 *   another one could be woken waits for the busy one.
 * - With a delay the clock starts when the first request is next *and* a worker is idle, as TorchServe's starts when
 *   a worker takes its first job. A full batch leaves at once, and any batch before its tightest deadline is out of reach.
 * - It learns how long runs take. A request that cannot be answered within its deadline is refused when it comes, or
 *   dropped when its turn comes too late, so that no run is wasted on it.
 *   Of a model far below a millisecond a worker may get several batches at once.
 * - A request whose deadline passes or whose caller leaves is dropped at once, wherever it stands.
 * - One timer serves all deadlines. When it fires the (bounded) queue is walked once.
 */
export class Batcher<T> implements BatchingPolicy<T> {
  readonly #options: BatcherOptions<T>;
  readonly #line = new WaitingLine<Entry<T>>();
  readonly #forecast: RunForecast;
  #pumping = false;
  #turnEnds = false;
  #holds = false;
  #delay:
    { readonly since: number; readonly endsAt: number; timerAt: number; cancel: () => void } | undefined;
  readonly #deadlines: EarliestTimer;

  constructor(options: BatcherOptions<T>) {
    this.#options = options;
    this.#deadlines = new EarliestTimer(options.clock, () => this.#expire());
    this.#forecast = new RunForecast(options.adaptive ?? false, options.handsOver ?? false);
  }

  /** Requests that wait. */
  get pending(): number {
    return this.#line.length;
  }

  /** Requests that still find room in the queue. */
  get remaining(): number {
    return Math.min(this.#options.queueSize, this.#room());
  }

  /** Milliseconds that the oldest of the waiting requests has waited; 0 when none waits. */
  get oldestWaitMs(): number {
    let oldest = Infinity;
    for (const { value } of this.#line) oldest = Math.min(oldest, value.queuedAt);
    return oldest === Infinity ? 0 : this.#options.clock.now() - oldest;
  }

  /**
   * Queues a request; it is dispatched at the end of this turn of the event loop at the earliest.
   * @param onDropped called once when the request leaves the queue unserved: `DEADLINE_EXCEEDED`, `REQUEST_CANCELLED`
   * or what {@link rejectAll} was given
   * @throws MarlineError what `full` makes when no room is left, what `overloaded` makes when its deadline cannot be met;
   * `DEADLINE_EXCEEDED` and `REQUEST_CANCELLED` when there is no point in queueing
   */
  submit(
    item: T,
    bounds: AnswerBounds,
    onDropped: (error: MarlineError) => void,
    { priority, tenant, alone = false }: Standing = {},
  ): Queued<T> {
    const queuedAt = this.#options.clock.now();
    const { signal, deadlineAt } = bounds;
    if (signal?.aborted === true) throw new MarlineError('REQUEST_CANCELLED');
    if (deadlineAt !== undefined) this.#admit(queuedAt, deadlineAt, bounds, priority);
    if (this.#room() === 0) throw this.#options.full();

    const entry: Entry<T> = {
      item,
      queuedAt,
      bounds,
      alone,
      place: undefined,
      onAbort: undefined,
      onDropped,
    };
    entry.place = this.#line.push(entry, priority, tenant);
    if (signal !== undefined) {
      entry.onAbort = () => this.#drop(entry, new MarlineError('REQUEST_CANCELLED'));
      signal.addEventListener('abort', entry.onAbort, { once: true });
    }
    if (deadlineAt !== undefined) this.#deadlines.by(deadlineAt);
    if (this.#options.idle() > 0) this.#pumpSoon();
    return entry;
  }

  /** A worker became idle: it takes what waits. Calling it without need does no harm. */
  wake(): void {
    this.#pump();
  }

  /** A worker spent `durationMs` on `items`. */
  learn(items: number, durationMs: number): void {
    this.#forecast.learn(items, durationMs);
  }

  /** Fails everything that waits. New requests are still taken. */
  rejectAll(error: MarlineError): void {
    const waiting = Array.from(this.#line, ({ value }) => value);
    for (const entry of waiting) this.#unlink(entry);
    for (const entry of waiting) entry.onDropped(error);
  }

  /** The batches that idle workers are about to take stand for those workers, not in the queue. */
  #room(): number {
    const { queueSize, idle } = this.#options;
    return Math.max(0, queueSize + idle() * this.#batchSize() - this.#line.length);
  }

  #batchSize(): number {
    return Math.max(1, this.#options.batchSize());
  }

  #admit(now: number, deadlineAt: number, bounds: AnswerBounds, priority: Priority | undefined): void {
    if (deadlineAt <= now) throw expired(bounds);
    // An idle worker takes anything, so that a prediction that has become wrong is put right by a run.
    if (this.#options.idle() > 0) return;
    const ahead = this.#line.ahead(priority);
    const expectedMs = this.#forecast.answeredMs(ahead, this.#options.ready(), this.#batchSize());
    if (expectedMs !== undefined && now + this.#forecast.atWorst(expectedMs) > deadlineAt)
      throw this.#options.overloaded(expectedMs, bounds);
  }

  #pumpSoon(): void {
    if (this.#turnEnds) return;
    this.#turnEnds = true;
    const leave = () => {
      this.#turnEnds = false;
      this.#pump();
    };
    const { clock } = this.#options;
    // Where several come together more are on their way, and waking a thread twice costs more than the work of both.
    clock.soon(() => (this.#forecast.isLittle(this.#line.length) ? clock.soon(leave) : leave()));
  }

  #pump(): void {
    // A dispatch may make a worker idle within the call; the loop below sees it, and a long queue must not deepen the stack.
    if (this.#pumping) return;
    this.#pumping = true;
    let spreads = false;
    try {
      for (let idle = this.#options.idle(); idle > 0; idle = this.#options.idle()) {
        if (this.#line.length === 0) break;
        if (this.#line.length < this.#batchSize() && this.#mustWait()) return;
        if (!spreads && this.#isSoonBack(idle)) return;
        const share = this.#forecast.share(this.#line.length, idle, this.#batchSize());
        spreads = share < this.#line.length;
        const delay = this.#delay;
        const batch = this.#take(this.#rounded(share));
        if (batch.length === 0) continue;
        const now = this.#options.clock.now();
        this.#forecast.sent(batch.length, now);
        this.#options.dispatch(batch, delay === undefined ? 0 : now - delay.since);
      }
      this.#endDelay();
    } finally {
      this.#pumping = false;
    }
  }

  /** True while a busy worker will be there for the little that waits before an idle one could be woken. */
  #isSoonBack(idle: number): boolean {
    const { clock, ready } = this.#options;
    if (idle >= ready()) return false;
    const leftMs = this.#forecast.soonBackMs(this.#line.length, clock.now());
    if (leftMs === 0) return false;
    if (this.#holds) return true;
    // The worker wakes the queue; the timer is for a run that takes longer than expected.
    this.#holds = true;
    clock.after(leftMs, () => {
      this.#holds = false;
      this.#pump();
    });
    return true;
  }

  /** True while the batch that is being formed has time left to fill. */
  #mustWait(): boolean {
    const { maxBatchDelayMs, clock } = this.#options;
    if (maxBatchDelayMs <= 0) return false;
    const now = clock.now();
    this.#delay ??= { since: now, endsAt: now + maxBatchDelayMs, timerAt: Infinity, cancel: () => {} };
    const delay = this.#delay;
    const closesAt = Math.min(delay.endsAt, this.#latestStart());
    if (closesAt <= now) return false;
    if (closesAt >= delay.timerAt) return true;
    delay.cancel();
    delay.timerAt = closesAt;
    delay.cancel = clock.after(closesAt - now, () => {
      delay.timerAt = Infinity;
      this.#pump();
    });
    return true;
  }

  /** When a run of all who wait must begin so that the tightest of their deadlines is met. */
  #latestStart(): number {
    const { at } = this.#deadlines;
    return at === Infinity ? Infinity : this.#forecast.latestStart(this.#line.length, at);
  }

  #endDelay(): void {
    this.#delay?.cancel();
    this.#delay = undefined;
  }

  /** A worker fills a run up to the next power of two, where that matters: the few above the last one cost less in the next run. */
  #rounded(share: number): number {
    const { steady, adaptive, maxBatchDelayMs } = this.#options;
    const waiting = this.#line.length;
    if (waiting >= share || adaptive === true || maxBatchDelayMs > 0 || steady?.() !== true) return share;
    return 2 ** Math.floor(Math.log2(waiting));
  }

  /** Up to `most` requests, fewer when a larger run would be too late for one of them. */
  #take(most: number): Entry<T>[] {
    this.#endDelay();
    const { clock, idle, ready } = this.#options;
    const now = clock.now();
    // While every worker is idle nothing is learned: then a run, however late, is the way to learn.
    const leastMs = idle() < ready() ? this.#forecast.runMs(1) : 0;
    const batch: Entry<T>[] = [];
    let tightest = Infinity;
    for (
      let entry = this.#line.peek();
      entry !== undefined && batch.length < most;
      entry = this.#line.peek()
    ) {
      const { deadlineAt } = entry.bounds;
      if (deadlineAt !== undefined && now + leastMs >= deadlineAt) {
        // The deadline passed unseen while the event loop was held up, or a run would end behind it.
        this.#unlinkNext(entry);
        entry.onDropped(expired(entry.bounds));
        continue;
      }
      const bound = Math.min(tightest, deadlineAt ?? Infinity);
      if (batch.length > 0 && (entry.alone || now + this.#forecast.runMs(batch.length + 1) > bound)) break;
      tightest = bound;
      this.#unlinkNext(entry);
      batch.push(entry);
      if (entry.alone) break;
    }
    return batch;
  }

  #drop(entry: Entry<T>, error: MarlineError): void {
    this.#unlink(entry);
    entry.onDropped(error);
  }

  #unlink(entry: Entry<T>): void {
    if (entry.place !== undefined) this.#line.remove(entry.place);
    this.#forget(entry);
  }

  #unlinkNext(entry: Entry<T>): void {
    this.#line.shift();
    this.#forget(entry);
  }

  #forget(entry: Entry<T>): void {
    entry.place = undefined;
    // Signals outlive requests (one per connection, or the caller's own), so a listener left behind would pile up.
    if (entry.onAbort !== undefined) entry.bounds.signal?.removeEventListener('abort', entry.onAbort);
    if (this.#line.length > 0) return;
    this.#endDelay();
    this.#deadlines.cancel();
  }

  #expire(): void {
    const now = this.#options.clock.now();
    const late: Entry<T>[] = [];
    let nearest = Infinity;
    for (const { value } of this.#line) {
      const { deadlineAt } = value.bounds;
      if (deadlineAt === undefined) continue;
      if (deadlineAt <= now) late.push(value);
      else nearest = Math.min(nearest, deadlineAt);
    }
    for (const entry of late) this.#unlink(entry);
    this.#deadlines.by(nearest);
    for (const entry of late) entry.onDropped(expired(entry.bounds));
  }
}
