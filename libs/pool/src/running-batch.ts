import {
  MarlineError,
  messageOf,
  type BatchItem,
  type BatchSink,
  type HookTimings,
  type ItemResult,
} from '#libs/common';
import { recycle } from './buffer-pool.js';
import type { Channel } from './channel.js';
import { writeItem } from './item-codec.js';
import { PacketWriter, type PacketReader } from './packet.js';
import { TO_WORKER } from './protocol.js';

const OPEN = 0;
/** Nobody reads the item any more; its answer is still to come. */
const CANCELLED = 1;
const SETTLED = 2;

/**
 * The main thread's side of one batch in a worker: sends it, hands what arrives to the sink, grants credits for chunks,
 * and remembers which items still need an answer.
 */
export class RunningBatch {
  readonly #sink: BatchSink;
  readonly #channel: Channel;
  /** Those that were sent: the worker speaks of them by their place here. */
  #items: readonly BatchItem[];
  readonly #states: Uint8Array;

  constructor(items: readonly BatchItem[], sink: BatchSink, channel: Channel) {
    this.#items = items;
    this.#sink = sink;
    this.#channel = channel;
    this.#states = new Uint8Array(items.length);
  }

  /** Sends the items; one that cannot be sent fails at once. False when none is left. */
  send(): boolean {
    const packet = new PacketWriter(TO_WORKER.run);
    const { values } = packet;
    const countAt = values.push(0) - 1;
    const sent: BatchItem[] = [];
    const failed: (() => void)[] = [];
    for (const item of this.#items) {
      const mark = packet.mark();
      try {
        writeItem(packet, item);
        sent.push(item);
      } catch (error) {
        packet.rollBack(mark);
        failed.push(() => this.#sink.error(item.id, notSendable(error)));
      }
    }
    this.#items = sent;
    values[countAt] = sent.length;
    if (sent.length > 0) this.#channel.post(packet);
    for (const fail of failed) fail();
    return sent.length > 0;
  }

  /** True when answers of several requests may come in one packet. */
  get shared(): boolean {
    return this.#items.length > 1;
  }

  /** The worker's answer to the item at `index`; ignored when there is none such, or it was settled already. */
  result(index: number, result: ItemResult): void {
    const item = this.#items[index];
    if (item === undefined || this.#states[index] === SETTLED) return;
    this.#states[index] = SETTLED;
    this.#sink.result(item.id, result);
  }

  error(index: number, error: MarlineError): void {
    const item = this.#items[index];
    if (item === undefined || this.#states[index] === SETTLED) return;
    this.#states[index] = SETTLED;
    this.#sink.error(item.id, error);
  }

  chunk(index: number, chunk: ItemResult): void {
    const item = this.#items[index];
    if (item !== undefined && this.#states[index] === OPEN) void this.#deliver(index, item.id, chunk);
  }

  async #deliver(index: number, id: string, chunk: ItemResult): Promise<void> {
    try {
      await this.#sink.chunk(id, chunk);
    } catch {
      // A reader that cannot take a chunk takes no other either.
      this.#cancel(index);
      return;
    }
    if (this.#states[index] === OPEN) this.#tell(TO_WORKER.credit, index);
  }

  ran(items: number, durationMs: number, hooks?: HookTimings): void {
    this.#sink.ran(items, durationMs, hooks);
  }

  cancel(id: string): void {
    this.#cancel(this.#items.findIndex((item) => item.id === id));
  }

  /** Fails every item that has no answer yet. */
  failRest(error: MarlineError): void {
    for (let index = 0; index < this.#items.length; index += 1) this.error(index, error);
  }

  #cancel(index: number): void {
    if (this.#states[index] !== OPEN) return;
    this.#states[index] = CANCELLED;
    this.#tell(TO_WORKER.cancel, index);
  }

  #tell(kind: number, index: number): void {
    const packet = new PacketWriter(kind);
    packet.values.push(index);
    this.#channel.post(packet);
  }
}

/** Reads the buffers that a worker sends back, and keeps them for the next requests. */
export function takeBack(packet: PacketReader): void {
  for (let count = packet.count(packet.left); count > 0; count -= 1) recycle(packet.bytes(false).buffer);
}

function notSendable(error: unknown): MarlineError {
  const reason =
    `An input of this request cannot be sent to a worker: ${messageOf(error)} ` +
    'Tensors and bytes belong to Marline once they are given to it; pass a copy of what is used again.';
  return new MarlineError('INVALID_INPUT', { reason }, { cause: error });
}
