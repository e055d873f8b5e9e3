import type { BatchSink, Clock, ItemResult, MarlineError } from '#libs/common';

/**
 * The time limit of one run, around its sink. As in TorchServe every reply starts it afresh; while a chunk waits for its
 * reader it stands still, so that a slow client is not taken for a dead worker.
 */
export class RunWatch implements BatchSink {
  readonly #sink: BatchSink;
  readonly #limitMs: number;
  readonly #clock: Clock;
  readonly #onTimeout: () => void;
  /** Chunks that wait for their reader, by item. */
  readonly #waiting = new Map<string, number>();
  #ended = false;
  #cancelTimer: () => void = () => {};

  /** @param limitMs 0 is no limit */
  constructor(sink: BatchSink, limitMs: number, clock: Clock, onTimeout: () => void) {
    this.#sink = sink;
    this.#limitMs = limitMs;
    this.#clock = clock;
    this.#onTimeout = onTimeout;
    this.#restart();
  }

  chunk(id: string, chunk: ItemResult): Promise<void> {
    this.#waiting.set(id, (this.#waiting.get(id) ?? 0) + 1);
    this.#restart();
    return this.#sink.chunk(id, chunk).finally(() => this.#taken(id));
  }

  result(id: string, result: ItemResult): void {
    this.release(id);
    this.#sink.result(id, result);
  }

  error(id: string, error: MarlineError): void {
    this.release(id);
    this.#sink.error(id, error);
  }

  ran(items: number, durationMs: number): void {
    this.#sink.ran(items, durationMs);
  }

  /** Nobody reads this item any more: the worker does not wait for it. */
  release(id: string): void {
    this.#waiting.delete(id);
    this.#restart();
  }

  /** The run is over. */
  end(): void {
    this.#ended = true;
    this.#cancelTimer();
  }

  #taken(id: string): void {
    const count = this.#waiting.get(id);
    if (count === undefined) return;
    if (count > 1) this.#waiting.set(id, count - 1);
    else this.#waiting.delete(id);
    this.#restart();
  }

  #restart(): void {
    this.#cancelTimer();
    if (this.#ended || this.#limitMs === 0 || this.#waiting.size > 0) return;
    this.#cancelTimer = this.#clock.after(this.#limitMs, () => {
      this.end();
      this.#onTimeout();
    });
  }
}
