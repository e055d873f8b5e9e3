import type { MessagePort } from 'node:worker_threads';
import {
  MarlineError,
  encodeError,
  messageOf,
  type BatchItem,
  type BatchSink,
  type ItemResult,
} from '#libs/common';
import type { FromWorker, ItemEvent, RunEvent } from './protocol.js';
import { packResult, post } from './transfer.js';

interface OpenItem {
  cancelled: boolean;
  /** One per chunk that the reader has not taken yet. */
  readonly waiting: (() => void)[];
}

/**
 * The worker's side of a batch's answers. Collects what happens in one tick into one message, keeps chunks waiting for
 * their reader, and sees to it that every item is settled exactly once.
 */
export class Outbox implements BatchSink {
  readonly #port: MessagePort;
  readonly #open = new Map<string, OpenItem>();
  #events: RunEvent[] = [];
  #transfer = new Set<ArrayBuffer>();
  readonly #spent = new Set<ArrayBuffer>();
  #scheduled = false;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  begin(items: readonly BatchItem[]): void {
    for (const { id } of items) this.#open.set(id, { cancelled: false, waiting: [] });
  }

  chunk(id: string, chunk: ItemResult): Promise<void> {
    const item = this.#open.get(id);
    if (item === undefined || item.cancelled) return Promise.resolve();
    let packed;
    try {
      packed = packResult(chunk, this.#transfer);
    } catch (error) {
      this.error(id, notSerializable(error));
      return Promise.resolve();
    }
    this.push({ type: 'chunk', id, chunk: packed });
    return new Promise((resolve) => item.waiting.push(resolve));
  }

  result(id: string, result: ItemResult): void {
    if (!this.#settle(id)) return;
    try {
      this.push({ type: 'result', id, result: packResult(result, this.#transfer) });
    } catch (error) {
      this.push({ type: 'error', id, error: encodeError(notSerializable(error)) });
    }
  }

  error(id: string, error: MarlineError): void {
    if (this.#settle(id)) this.push({ type: 'error', id, error: encodeError(error) });
  }

  ran(items: number, durationMs: number): void {
    this.push({ type: 'ran', items, durationMs });
  }

  credit(id: string): void {
    this.#open.get(id)?.waiting.shift()?.();
  }

  /** Nobody reads this item any more: its chunks are dropped and wait for nothing. */
  cancel(id: string): void {
    const item = this.#open.get(id);
    if (item === undefined) return;
    item.cancelled = true;
    for (const resume of item.waiting.splice(0)) resume();
  }

  /** Ends the batch: what the engine left open fails with the error that `left` makes. */
  finish(left: () => MarlineError): void {
    for (const id of this.#open.keys()) this.error(id, left());
    this.push({ type: 'done', spent: this.#takeSpent() });
    this.flush();
  }

  /** Sends an input's buffer back when the batch is over: until then an answer that is still to come may be a view of it. */
  recycle(buffer: ArrayBuffer): void {
    this.#spent.add(buffer);
  }

  #takeSpent(): ArrayBuffer[] {
    const spent = [...this.#spent].filter((buffer) => buffer.byteLength > 0 && !this.#transfer.has(buffer));
    this.#spent.clear();
    for (const buffer of spent) this.#transfer.add(buffer);
    return spent;
  }

  push(event: RunEvent): void {
    this.#events.push(event);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After the promises of this tick, before the next native run blocks the thread.
    queueMicrotask(() => process.nextTick(() => this.flush()));
  }

  flush(): void {
    const [events, transfer] = [this.#events, this.#transfer];
    this.#events = [];
    this.#transfer = new Set();
    this.#scheduled = false;
    if (events.length === 0) return;
    try {
      this.#post(events, transfer);
    } catch {
      this.#postApart(events);
    }
  }

  #settle(id: string): boolean {
    const item = this.#open.get(id);
    for (const resume of item?.waiting.splice(0) ?? []) resume();
    return this.#open.delete(id);
  }

  /** One answer holds what cannot be cloned, such as a function: the others must not suffer. */
  #postApart(events: readonly RunEvent[]): void {
    for (const event of events) {
      try {
        this.#post([event]);
      } catch (error) {
        const failure = notSerializable(error);
        if (isItemEvent(event)) {
          this.#settle(event.id);
          this.#post([{ type: 'error', id: event.id, error: encodeError(failure) }]);
        } else {
          this.#post([{ type: 'log', level: 'warn', text: String(failure.details['reason']) }]);
        }
      }
    }
  }

  #post(events: readonly RunEvent[], transfer: ReadonlySet<ArrayBuffer> = new Set()): void {
    post(this.#port, { type: 'events', events } satisfies FromWorker<never>, transfer);
  }
}

function isItemEvent(event: RunEvent): event is ItemEvent {
  return 'id' in event;
}

function notSerializable(error: unknown): MarlineError {
  const reason = `The answer cannot leave its worker: ${messageOf(error)} Return bytes, text, plain data or tensors that are not used again.`;
  return new MarlineError('OUTPUT_NOT_SERIALIZABLE', { reason }, { cause: error });
}
