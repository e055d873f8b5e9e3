import { MarlineError, type Clock } from '#libs/common';
import type { AnswerBounds } from './pending-answer.js';

/** What a batcher is told. `batchSize` and `canDispatch` are asked each time, because both may change while it works. */
export interface BatcherOptions<T> {
  /** Most items of one batch, now; below 1 counts as 1. */
  readonly batchSize: () => number;
  /** Milliseconds that a batch waits to fill, from the moment a worker could take its first item. 0: never waits. */
  readonly maxBatchDelayMs: number;
  /** Most requests that may wait; one more is refused. */
  readonly queueSize: number;
  readonly clock: Clock;
  /** True while a worker is idle. */
  readonly canDispatch: () => boolean;
  /** Takes the batch over: from here on its deadlines and signals are not watched any more. Must not throw. */
  readonly dispatch: (batch: readonly Queued<T>[]) => void;
  /** The error of a request that finds the queue full. */
  readonly full: () => MarlineError;
}

/** A request that waits, or waited until it was dispatched. */
export interface Queued<T> {
  readonly item: T;
  /** Time of the batcher's clock at which it was submitted. */
  readonly queuedAt: number;
  readonly bounds: AnswerBounds;
}

interface Entry<T> extends Queued<T> {
  previous: Entry<T> | undefined;
  next: Entry<T> | undefined;
  readonly onAbort: (() => void) | undefined;
  readonly onDropped: (error: MarlineError) => void;
}

/**
 * Groups requests into batches, first come first served. It never looks into an item and does no I/O; time is injected.
 *
 * - It is work-conserving: while a worker is idle a request leaves within the call that brought it, unless a batch delay
 *   is set. With every worker busy the queue fills, and the next idle worker takes up to a batch at once.
 * - With a delay the clock starts when the first request is at the head *and* a worker is idle, as TorchServe's starts when
 *   a worker takes its first job; a full batch leaves at once.
 * - A request whose deadline passes or whose caller leaves is dropped at once, wherever it stands, so it never costs a run.
 *   The queue is a doubly linked list, because leaving from its middle must not cost a search.
 * - One timer serves all deadlines. When it fires the (bounded) queue is walked once; it may fire in vain when the request
 *   it was set for has left already, which is cheaper than keeping the deadlines sorted.
 */
export class Batcher<T> {
  readonly #options: BatcherOptions<T>;
  #head: Entry<T> | undefined;
  #tail: Entry<T> | undefined;
  #length = 0;
  #pumping = false;
  #delay: { over: boolean; readonly cancel: () => void } | undefined;
  #deadline: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(options: BatcherOptions<T>) {
    this.#options = options;
  }

  /** Requests that wait. */
  get pending(): number {
    return this.#length;
  }

  /** Requests that still find room in the queue. */
  get remaining(): number {
    return Math.min(this.#options.queueSize, this.#room());
  }

  /**
   * Queues a request; it may be dispatched before this returns.
   * @param onDropped called once when the request leaves the queue unserved: `DEADLINE_EXCEEDED`, `REQUEST_CANCELLED`
   * or what {@link rejectAll} was given
   * @throws MarlineError what `full` makes when no room is left; `DEADLINE_EXCEEDED` and `REQUEST_CANCELLED` when there is
   * no point in queueing
   */
  submit(item: T, bounds: AnswerBounds, onDropped: (error: MarlineError) => void): Queued<T> {
    const queuedAt = this.#options.clock.now();
    if (bounds.signal?.aborted === true) throw new MarlineError('REQUEST_CANCELLED');
    if (isPast(bounds, queuedAt)) throw expired(bounds);
    if (this.#room() === 0) throw this.#options.full();

    const entry: Entry<T> = {
      item,
      queuedAt,
      bounds,
      previous: this.#tail,
      next: undefined,
      onDropped,
      onAbort: bounds.signal && (() => this.#drop(entry, new MarlineError('REQUEST_CANCELLED'))),
    };
    if (entry.onAbort !== undefined) bounds.signal?.addEventListener('abort', entry.onAbort, { once: true });
    if (this.#tail === undefined) this.#head = entry;
    else this.#tail.next = entry;
    this.#tail = entry;
    this.#length++;

    this.#pump();
    if (this.#length > 0) this.#watchDeadline(bounds.deadlineAt);
    return entry;
  }

  /** A worker became idle: it takes what waits. Calling it without need does no harm. */
  wake(): void {
    this.#pump();
  }

  /** Fails everything that waits. New requests are still taken. */
  rejectAll(error: MarlineError): void {
    const waiting = this.#take(Infinity);
    for (const entry of waiting) entry.onDropped(error);
  }

  /** The batch that an idle worker is filling stands for that worker, not in the queue. */
  #room(): number {
    const { queueSize, canDispatch } = this.#options;
    return Math.max(0, queueSize + (canDispatch() ? this.#batchSize() : 0) - this.#length);
  }

  #batchSize(): number {
    return Math.max(1, this.#options.batchSize());
  }

  #pump(): void {
    // A dispatch may make a worker idle within the call; the loop below sees it, and a long queue must not deepen the stack.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#head !== undefined && this.#options.canDispatch()) {
        const size = this.#batchSize();
        if (this.#length < size && this.#mustWait()) return;
        const batch = this.#take(size);
        if (batch.length > 0) this.#options.dispatch(batch);
      }
      this.#endDelay();
    } finally {
      this.#pumping = false;
    }
  }

  /** True while the batch that is being formed has time left to fill. */
  #mustWait(): boolean {
    const { maxBatchDelayMs, clock } = this.#options;
    if (maxBatchDelayMs <= 0 || this.#delay?.over === true) return false;
    this.#delay ??= {
      over: false,
      cancel: clock.after(maxBatchDelayMs, () => {
        if (this.#delay !== undefined) this.#delay.over = true;
        this.#pump();
      }),
    };
    return true;
  }

  #endDelay(): void {
    this.#delay?.cancel();
    this.#delay = undefined;
  }

  /** Up to `size` requests from the head. A deadline may have passed unseen while the event loop was held up. */
  #take(size: number): Entry<T>[] {
    this.#endDelay();
    const now = this.#options.clock.now();
    const batch: Entry<T>[] = [];
    while (this.#head !== undefined && batch.length < size) {
      const entry = this.#head;
      this.#unlink(entry);
      if (isPast(entry.bounds, now)) entry.onDropped(expired(entry.bounds));
      else batch.push(entry);
    }
    return batch;
  }

  #drop(entry: Entry<T>, error: MarlineError): void {
    this.#unlink(entry);
    entry.onDropped(error);
  }

  #unlink(entry: Entry<T>): void {
    if (entry.previous === undefined) this.#head = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === undefined) this.#tail = entry.previous;
    else entry.next.previous = entry.previous;
    entry.previous = undefined;
    entry.next = undefined;
    this.#length--;
    // Signals outlive requests (one per connection, or the caller's own), so a listener left behind would pile up.
    if (entry.onAbort !== undefined) entry.bounds.signal?.removeEventListener('abort', entry.onAbort);
    if (this.#length > 0) return;
    this.#endDelay();
    this.#deadline?.cancel();
    this.#deadline = undefined;
  }

  #watchDeadline(at: number | undefined): void {
    if (at === undefined || (this.#deadline !== undefined && this.#deadline.at <= at)) return;
    this.#deadline?.cancel();
    const { clock } = this.#options;
    this.#deadline = { at, cancel: clock.after(at - clock.now(), () => this.#expire()) };
  }

  #expire(): void {
    this.#deadline = undefined;
    const now = this.#options.clock.now();
    const late: Entry<T>[] = [];
    let nearest: number | undefined;
    for (let entry = this.#head; entry !== undefined; entry = entry.next) {
      if (isPast(entry.bounds, now)) late.push(entry);
      else nearest = earlier(nearest, entry.bounds.deadlineAt);
    }
    for (const entry of late) this.#unlink(entry);
    this.#watchDeadline(this.#length > 0 ? nearest : undefined);
    for (const entry of late) entry.onDropped(expired(entry.bounds));
  }
}

function isPast(bounds: AnswerBounds, now: number): boolean {
  return bounds.deadlineAt !== undefined && bounds.deadlineAt <= now;
}

function expired({ deadlineMs }: AnswerBounds): MarlineError {
  return new MarlineError('DEADLINE_EXCEEDED', { deadlineMs });
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}
