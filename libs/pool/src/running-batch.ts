import { MarlineError, decodeError, messageOf, type BatchItem, type BatchSink } from '#libs/common';
import type { ItemEvent, ToWorker } from './protocol.js';
import { packItem } from './transfer.js';

/**
 * The main thread's side of one batch in a worker: hands what arrives to the sink, grants credits for chunks, and
 * remembers which items still need an answer.
 */
export class RunningBatch {
  readonly #sink: BatchSink;
  readonly #send: (message: ToWorker<never>) => void;
  readonly #open = new Map<string, { cancelled: boolean }>();

  /** @param send posts to the worker; used for credits and cancellations */
  constructor(items: readonly BatchItem[], sink: BatchSink, send: (message: ToWorker<never>) => void) {
    this.#sink = sink;
    this.#send = send;
    for (const { id } of items) this.#open.set(id, { cancelled: false });
  }

  /** The items as they are posted. One that cannot be is failed at once and left out. */
  pack(items: readonly BatchItem[], transfer: Set<ArrayBuffer>): BatchItem[] {
    return items.flatMap((item) => {
      try {
        return [packItem(item, transfer)];
      } catch (error) {
        const reason =
          `An input of this request cannot be sent to a worker: ${messageOf(error)} ` +
          'Tensors and bytes belong to Marline once they are given to it; pass a copy of what is used again.';
        this.#fail(item.id, new MarlineError('INVALID_INPUT', { reason }, { cause: error }));
        return [];
      }
    });
  }

  /** Something arrived; ignored when its item was settled already. */
  deliver(event: ItemEvent): void {
    const item = this.#open.get(event.id);
    if (item === undefined) return;
    switch (event.type) {
      case 'chunk':
        if (!item.cancelled) void this.#deliverChunk(event);
        break;
      case 'result':
        this.#open.delete(event.id);
        this.#sink.result(event.id, event.result);
        break;
      case 'error':
        this.#fail(event.id, decodeError(event.error));
        break;
    }
  }

  ran(items: number, durationMs: number): void {
    this.#sink.ran(items, durationMs);
  }

  async #deliverChunk({ id, chunk }: ItemEvent & { type: 'chunk' }): Promise<void> {
    try {
      await this.#sink.chunk(id, chunk);
    } catch {
      // A reader that cannot take a chunk takes no other either.
      this.cancel(id);
      return;
    }
    if (this.#open.get(id)?.cancelled === false) this.#send({ type: 'credit', id });
  }

  cancel(id: string): void {
    const item = this.#open.get(id);
    if (item === undefined || item.cancelled) return;
    item.cancelled = true;
    this.#send({ type: 'cancel', id });
  }

  /** Fails every item that has no answer yet. */
  failRest(error: MarlineError): void {
    for (const id of this.#open.keys()) this.#fail(id, error);
  }

  #fail(id: string, error: MarlineError): void {
    this.#open.delete(id);
    this.#sink.error(id, error);
  }
}
