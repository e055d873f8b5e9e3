import type { BatchSink, ItemResult, MarlineError } from '#libs/common';

/** Answers are held no longer than this: waking the main thread costs as much as several very short runs. */
const HOLD_MS = 0.5;

/** Gives the answers of several short runs to a sink together, because each run ends in a turn of the event loop of its own. */
export class HeldAnswers implements BatchSink {
  readonly #sink: BatchSink;
  #held: (() => void)[] = [];
  #heldSince = 0;

  constructor(sink: BatchSink) {
    this.#sink = sink;
  }

  /** A part of an answer is not held: its reader waits for it, and its writer for the reader. */
  chunk(id: string, chunk: ItemResult): Promise<void> {
    this.release();
    return this.#sink.chunk(id, chunk);
  }

  result(id: string, result: ItemResult): void {
    this.#hold(() => this.#sink.result(id, result));
  }

  error(id: string, error: MarlineError): void {
    this.#hold(() => this.#sink.error(id, error));
  }

  /** The end of a run: what has been held for long enough goes out. */
  ran(items: number, durationMs: number): void {
    this.#hold(() => this.#sink.ran(items, durationMs));
    if (performance.now() - this.#heldSince >= HOLD_MS) this.release();
  }

  release(): void {
    for (const give of this.#held.splice(0)) give();
  }

  #hold(give: () => void): void {
    if (this.#held.length === 0) this.#heldSince = performance.now();
    this.#held.push(give);
  }
}
