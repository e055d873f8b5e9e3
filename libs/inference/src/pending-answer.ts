import { MarlineError, type Clock, type ItemResult } from '#libs/common';
import type { CancelSignal, PredictionAnswer } from './prediction.js';

/** By when and for whom an answer is made. */
export interface AnswerBounds {
  /** Point in time on the clock; the caller does not wait longer. */
  readonly deadlineAt?: number;
  /** What the caller allowed, for the error's text. */
  readonly deadlineMs?: number;
  readonly signal?: CancelSignal;
}

/** The error of a caller whose deadline has passed. */
export function expired({ deadlineMs }: AnswerBounds): MarlineError {
  return new MarlineError('DEADLINE_EXCEEDED', { deadlineMs });
}

/**
 * The answer that a caller waits for: settles once, with a result, a stream or an error, whichever comes first.
 * What arrives later is dropped, so that neither a slow run nor a late handler can answer twice.
 */
export class PendingAnswer {
  readonly promise: Promise<PredictionAnswer>;
  #resolve: (answer: PredictionAnswer) => void;
  #reject: (error: MarlineError) => void;
  #settled = false;
  #abandoned = false;
  #stream: ChunkQueue | undefined;
  #unwatch: (() => void) | undefined;
  /** Its place in {@link PendingAnswers}. */
  slot = -1;
  /** Milliseconds that it waited for workers so far. */
  queueMs = 0;

  /** @param onSettled told once, within the call that settles it, with the error if it is one */
  constructor(
    private readonly clock: Clock,
    private readonly onSettled: (error?: MarlineError) => void = () => {},
  ) {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** True once the caller gave up while a worker had its item: the run is for nobody. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** True once a first part went to the caller. */
  get streaming(): boolean {
    return this.#stream !== undefined;
  }

  /** True once nobody reads any further part. */
  get unread(): boolean {
    return this.#abandoned || this.#stream?.ended === true;
  }

  /** Enforces the bounds from now on, instead of those before; `abandon` is told when one of them ends the wait. */
  watch(bounds: AnswerBounds, abandon: () => void): void {
    const { deadlineAt, signal } = bounds;
    this.#unwatch?.();
    if (this.#settled || (deadlineAt === undefined && signal === undefined)) return;
    const giveUp = (error: MarlineError) => {
      this.#abandoned = true;
      this.error(error);
      abandon();
    };
    const cancelled = () => giveUp(new MarlineError('REQUEST_CANCELLED'));
    const stopTimer =
      deadlineAt === undefined
        ? undefined
        : this.clock.after(deadlineAt - this.clock.now(), () => giveUp(expired(bounds)));
    signal?.addEventListener('abort', cancelled, { once: true });
    this.#unwatch = () => {
      stopTimer?.();
      signal?.removeEventListener('abort', cancelled);
    };
    if (signal?.aborted === true) cancelled();
  }

  /** Resolves when the reader took the chunk, or at once when nobody reads any more. */
  chunk(chunk: ItemResult): Promise<void> {
    if (this.#stream !== undefined) return this.#stream.push(chunk);
    if (this.#settled) return Promise.resolve();
    this.#settled = true;
    this.#stream = new ChunkQueue();
    this.onSettled();
    this.#resolve({ streaming: true, first: chunk, rest: this.#stream });
    return this.#stream.whenRead();
  }

  result(result: ItemResult): void {
    this.#unwatch?.();
    if (this.#stream !== undefined) this.#stream.end(result);
    if (this.#settled) return;
    this.#settled = true;
    this.onSettled();
    this.#resolve({ streaming: false, result });
  }

  error(error: MarlineError): void {
    this.#unwatch?.();
    if (this.#stream !== undefined) this.#stream.fail(error);
    if (this.#settled) return;
    this.#settled = true;
    this.onSettled(error);
    this.#reject(error);
  }
}

/**
 * The answers that callers wait for. Not a Set: a set that grows and shrinks all the time leaves dead tables behind in the old
 * generation, and what they point to survives collection after collection (2.6 instead of 1.0 µs per request, nearly all of it collecting).
 */
export class PendingAnswers {
  readonly #all: PendingAnswer[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(pending: PendingAnswer): void {
    pending.slot = this.#all.length;
    this.#all.push(pending);
  }

  /** Only for what was added and not deleted since. */
  delete(pending: PendingAnswer): void {
    const last = this.#all.pop();
    if (last === undefined || last === pending) return;
    this.#all[pending.slot] = last;
    last.slot = pending.slot;
  }

  /** Fails all of them. */
  fail(error: MarlineError): void {
    // Each leaves as it fails, so a copy is walked.
    for (const pending of this.#all.slice()) pending.error(error);
  }
}

/** Chunks of one stream between a worker and one reader. Holds one chunk: the producer waits until the reader asks for the next. */
class ChunkQueue implements AsyncIterableIterator<ItemResult> {
  #waiting: ItemResult[] = [];
  #ended = false;
  #failure: MarlineError | undefined;
  #wakeReader = () => {};
  #wakeProducer = () => {};

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** True once it has its last part, or no reader any more. */
  get ended(): boolean {
    return this.#ended;
  }

  push(chunk: ItemResult): Promise<void> {
    if (this.#ended) return Promise.resolve();
    this.#waiting.push(chunk);
    this.#wakeReader();
    return this.whenRead();
  }

  /** Resolves when the reader comes back for more, or is gone. */
  whenRead(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeProducer = resolve;
    });
  }

  end(last: ItemResult): void {
    if (!this.#ended) this.#waiting.push(last);
    this.#finish();
  }

  fail(error: MarlineError): void {
    if (!this.#ended) this.#failure = error;
    this.#finish();
  }

  async next(): Promise<IteratorResult<ItemResult, undefined>> {
    for (;;) {
      const value = this.#waiting.shift();
      if (value !== undefined) return { done: false, value };
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return { done: true, value: undefined };
      this.#wakeProducer();
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }

  /** The reader leaves, at any point: the producer waits for nobody any more. */
  return(): Promise<IteratorResult<ItemResult, undefined>> {
    this.#waiting = [];
    this.#finish();
    return Promise.resolve({ done: true, value: undefined });
  }

  #finish(): void {
    this.#ended = true;
    this.#wakeReader();
    this.#wakeProducer();
  }
}
