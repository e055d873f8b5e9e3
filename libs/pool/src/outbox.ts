import {
  MarlineError,
  messageOf,
  type BatchItem,
  type BatchSink,
  type HandlerMetric,
  type HookTimings,
  type ItemResult,
} from '#libs/common';
import type { Channel } from './channel.js';
import { PacketWriter } from './packet.js';
import { EVENT, FROM_WORKER, LOG_LEVELS, UNKNOWN_MS, type LogLevel } from './protocol.js';
import { writeError, writeMetric, writeResult } from './result-codec.js';

const NONE: readonly BatchItem[] = [];

/** An item whose answer is not complete. */
const OPEN = 0;
/** An item that nobody reads any more. */
const CANCELLED = 1;
const SETTLED = 2;

/**
 * The worker's side of a batch's answers. Collects what happens in one tick into one packet, keeps chunks waiting for
 * their reader, and sees to it that every item is settled exactly once.
 */
export class Outbox implements BatchSink {
  readonly #channel: Channel;
  #items = NONE;
  #states = new Uint8Array(0);
  /** Where the next answer is expected: engines answer in order as a rule. */
  #cursor = 0;
  /** For items with chunks: one per chunk that the reader has not taken yet. */
  readonly #waiting = new Map<number, (() => void)[]>();
  readonly #spent = new Set<ArrayBuffer>();
  #packet = new PacketWriter(FROM_WORKER.events);
  #scheduled = false;
  readonly #flushLater = () => process.nextTick(this.#flushNow);
  readonly #flushNow = () => this.flush();

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  begin(items: readonly BatchItem[]): void {
    this.#items = items;
    this.#states = new Uint8Array(items.length);
    this.#cursor = 0;
  }

  chunk(id: string, chunk: ItemResult): Promise<void> {
    const index = this.#indexOf(id);
    if (index < 0 || this.#states[index] !== OPEN) return Promise.resolve();
    const failure = this.#write(EVENT.chunk, index, chunk);
    if (failure !== undefined) {
      this.#fail(index, failure);
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(index);
      if (waiting === undefined) this.#waiting.set(index, [resolve]);
      else waiting.push(resolve);
    });
  }

  result(id: string, result: ItemResult): void {
    const index = this.#indexOf(id);
    if (index < 0 || this.#states[index] === SETTLED) return;
    const failure = this.#write(EVENT.result, index, result);
    if (failure === undefined) this.#settle(index);
    else this.#fail(index, failure);
  }

  error(id: string, error: MarlineError): void {
    const index = this.#indexOf(id);
    if (index >= 0 && this.#states[index] !== SETTLED) this.#fail(index, error);
  }

  ran(items: number, durationMs: number, hooks?: HookTimings): void {
    this.#open().values.push(
      EVENT.ran,
      items,
      durationMs,
      hooks?.preMs ?? UNKNOWN_MS,
      hooks?.postMs ?? UNKNOWN_MS,
    );
  }

  metric(metric: HandlerMetric): void {
    const packet = this.#open();
    const mark = packet.mark();
    try {
      packet.values.push(EVENT.metric);
      writeMetric(packet, metric);
    } catch (error) {
      packet.rollBack(mark);
      this.log('warn', `A metric of the handler was left out: ${messageOf(error)}`);
    }
  }

  log(level: LogLevel, text: string): void {
    const packet = this.#open();
    packet.values.push(EVENT.log, LOG_LEVELS.indexOf(level));
    packet.text(text);
  }

  credit(index: number): void {
    this.#waiting.get(index)?.shift()?.();
  }

  /** Nobody reads this item any more: its chunks are dropped and wait for nothing. Returns its id while it is under way. */
  cancel(index: number): string | undefined {
    if (this.#states[index] !== OPEN) return undefined;
    this.#states[index] = CANCELLED;
    this.#resume(index);
    return this.#items[index]?.id;
  }

  /** Takes an input's buffer back when the batch is over: until then an answer that is still to come may be a view of it. */
  recycle(buffer: ArrayBuffer): void {
    this.#spent.add(buffer);
  }

  /** Ends the batch: what the engine left open fails with the error that `left` makes. */
  finish(left: () => MarlineError): void {
    for (let index = 0; index < this.#items.length; index += 1) {
      if (this.#states[index] !== SETTLED) this.#fail(index, left());
    }
    this.#items = NONE;
    this.#states = new Uint8Array(0);
    this.#done();
    this.flush();
  }

  flush(): void {
    this.#scheduled = false;
    const packet = this.#packet;
    if (packet.isEmpty) return;
    this.#packet = new PacketWriter(FROM_WORKER.events);
    this.#channel.post(packet);
  }

  /** Writes a result or chunk; returns why it cannot leave the worker. */
  #write(event: number, index: number, result: ItemResult): MarlineError | undefined {
    const packet = this.#open();
    const mark = packet.mark();
    try {
      packet.values.push(event, index);
      writeResult(packet, result);
      return undefined;
    } catch (error) {
      packet.rollBack(mark);
      return notSerializable(error);
    }
  }

  #fail(index: number, error: MarlineError): void {
    const packet = this.#open();
    packet.values.push(EVENT.error, index);
    writeError(packet, error);
    this.#settle(index);
  }

  #done(): void {
    const packet = this.#open();
    const { values } = packet;
    values.push(EVENT.done);
    const countAt = values.push(0) - 1;
    let count = 0;
    for (const buffer of this.#spent) {
      if (this.#channel.giveBack(buffer, packet)) count += 1;
    }
    values[countAt] = count;
    this.#spent.clear();
  }

  #indexOf(id: string): number {
    const items = this.#items;
    const { length } = items;
    for (let step = 0, index = this.#cursor; step < length; step += 1, index += 1) {
      if (index >= length) index = 0;
      if (items[index]?.id === id) {
        this.#cursor = index;
        return index;
      }
    }
    return -1;
  }

  #settle(index: number): void {
    this.#states[index] = SETTLED;
    this.#cursor = index + 1;
    if (this.#waiting.size > 0) this.#resume(index);
  }

  #resume(index: number): void {
    const waiting = this.#waiting.get(index);
    this.#waiting.delete(index);
    for (const resume of waiting ?? []) resume();
  }

  /** The packet of this tick. */
  #open(): PacketWriter {
    if (!this.#scheduled) {
      this.#scheduled = true;
      // After the promises of this tick, before the next native run blocks the thread.
      queueMicrotask(this.#flushLater);
    }
    return this.#packet;
  }
}

function notSerializable(error: unknown): MarlineError {
  const reason = `The answer cannot leave its worker: ${messageOf(error)} Return bytes, text, plain data or tensors that are not used again.`;
  return new MarlineError('OUTPUT_NOT_SERIALIZABLE', { reason }, { cause: error });
}
