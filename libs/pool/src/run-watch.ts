import type { BatchSink, Clock, HookTimings, ItemResult, MarlineError } from '#libs/common';

/**
 * The time limit of a worker's runs. A run may take microseconds and the limit minutes, so there is no timer per run: one
 * that is due looks when the last reply came, and is set again for the rest.
 */
export class RunLimit {
  readonly #limitMs: number;
  readonly #clock: Clock;
  readonly #onTimeout: () => void;
  #watch: RunWatch | undefined;
  #isSet = false;
  #cancelTimer: () => void = () => {};

  /** @param limitMs 0 is no limit */
  constructor(limitMs: number, clock: Clock, onTimeout: () => void) {
    this.#limitMs = limitMs;
    this.#clock = clock;
    this.#onTimeout = onTimeout;
  }

  /** A run begins, after the last one has ended: its answers go through the sink that is returned. */
  begin(sink: BatchSink): RunWatch {
    this.#watch = new RunWatch(sink, this.#clock, () => this.#set(this.#limitMs));
    this.#set(this.#limitMs);
    return this.#watch;
  }

  /** The run is over. */
  end(): void {
    this.#watch = undefined;
  }

  /** There will be no other run. */
  close(): void {
    this.end();
    this.#cancelTimer();
  }

  /** Nobody reads this item any more: the worker does not wait for it. */
  release(id: string): void {
    this.#watch?.release(id);
  }

  #set(delayMs: number): void {
    if (this.#limitMs === 0 || this.#isSet) return;
    this.#isSet = true;
    this.#cancelTimer = this.#clock.after(delayMs, () => {
      this.#isSet = false;
      this.#look();
    });
  }

  #look(): void {
    // While a chunk waits for its reader nothing is expected; the next reply sets the timer again.
    if (this.#watch === undefined || this.#watch.waits) return;
    const restMs = this.#watch.lastReplyAt + this.#limitMs - this.#clock.now();
    if (restMs > 0) {
      this.#set(restMs);
    } else {
      this.end();
      this.#onTimeout();
    }
  }
}

/**
 * One run around its sink: remembers when the worker last replied. As in TorchServe every reply starts the limit afresh;
 * while a chunk waits for its reader it stands still, so that a slow client is not taken for a dead worker.
 */
export class RunWatch implements BatchSink {
  readonly #sink: BatchSink;
  readonly #clock: Clock;
  readonly #onReply: () => void;
  /** Chunks that wait for their reader, by item. */
  readonly #waiting = new Map<string, number>();
  #lastReplyAt: number;

  /** @param onReply is called when the worker is waited for again */
  constructor(sink: BatchSink, clock: Clock, onReply: () => void) {
    this.#sink = sink;
    this.#clock = clock;
    this.#onReply = onReply;
    this.#lastReplyAt = clock.now();
  }

  get lastReplyAt(): number {
    return this.#lastReplyAt;
  }

  /** True while a chunk waits for its reader. */
  get waits(): boolean {
    return this.#waiting.size > 0;
  }

  async chunk(id: string, chunk: ItemResult): Promise<void> {
    this.#waiting.set(id, (this.#waiting.get(id) ?? 0) + 1);
    try {
      await this.#sink.chunk(id, chunk);
    } finally {
      this.#taken(id);
    }
  }

  result(id: string, result: ItemResult): void {
    this.#settled(id);
    this.#sink.result(id, result);
  }

  error(id: string, error: MarlineError): void {
    this.#settled(id);
    this.#sink.error(id, error);
  }

  ran(items: number, durationMs: number, hooks?: HookTimings): void {
    this.#sink.ran(items, durationMs, hooks);
  }

  /** Nobody reads this item any more. That is no sign of life of the worker, unless it waited for that reader. */
  release(id: string): void {
    if (this.#waiting.delete(id)) this.#replied();
  }

  #settled(id: string): void {
    if (this.waits) this.#waiting.delete(id);
    this.#replied();
  }

  #taken(id: string): void {
    const count = this.#waiting.get(id);
    if (count === undefined) return;
    if (count > 1) this.#waiting.set(id, count - 1);
    else this.#waiting.delete(id);
    this.#replied();
  }

  #replied(): void {
    this.#lastReplyAt = this.#clock.now();
    this.#onReply();
  }
}
