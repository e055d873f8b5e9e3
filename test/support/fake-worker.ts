import type { BatchItem, BatchSink, MarlineError } from '#libs/common';
import type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from '#libs/pool';
import { textResult } from './collecting-sink.js';

/** A worker that does what a test tells it to, and nothing by itself. */
export class FakeWorker implements PoolWorker<string, string> {
  readonly startedAt = 1;
  readonly pid = 7;
  state: WorkerState = 'created';
  model: string | undefined;
  readonly cancelled: string[] = [];
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #settleStart: (outcome: StartOutcome<string>) => void = () => {};
  readonly #batches: { items: Map<string, BatchItem>; sink: BatchSink; finish: () => void }[] = [];

  constructor(
    readonly id: number,
    readonly events: WorkerEvents,
    readonly capacity = 1,
  ) {
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  start(model: string): Promise<StartOutcome<string>> {
    this.state = 'starting';
    this.model = model;
    return new Promise((resolve) => {
      this.#settleStart = resolve;
    });
  }

  ready(info = 'info'): void {
    this.state = 'idle';
    this.#settleStart({ kind: 'ready', info });
  }

  failStart(kind: 'permanent' | 'transient', error: MarlineError): void {
    this.#end();
    this.#settleStart({ kind, error });
  }

  run(batch: readonly BatchItem[], sink: BatchSink): Promise<void> {
    if (this.state !== 'idle') throw new Error(`Worker ${this.id} was given a batch while ${this.state}.`);
    return new Promise((finish) => {
      this.#batches.push({ items: new Map(batch.map((item) => [item.id, item])), sink, finish });
      if (this.#batches.length === this.capacity) this.state = 'busy';
    });
  }

  /** Ids of the items that have no answer yet. */
  get running(): string[] {
    return this.#batches.flatMap(({ items }) => [...items.keys()]);
  }

  get sink(): BatchSink | undefined {
    return this.#batches[0]?.sink;
  }

  /** Answers every item of its first batch with `text`; the worker is idle again, or gone when it was stopping and has no other. */
  answer(text = 'ok'): void {
    const batch = this.#batches.shift();
    if (batch === undefined) throw new Error(`Worker ${this.id} runs nothing.`);
    for (const id of batch.items.keys()) batch.sink.result(id, textResult(text));
    if (this.state === 'busy') this.state = 'idle';
    else if (this.state === 'stopping' && this.#batches.length === 0) this.#end();
    batch.finish();
  }

  /** The worker ends by itself. */
  die(error: MarlineError): void {
    const asked = this.state === 'stopping' || this.state === 'quarantined';
    this.#failItems(error);
    this.#end();
    if (!asked) this.events.exited(error);
  }

  cancel(itemId: string): void {
    this.cancelled.push(itemId);
  }

  quarantine(error: MarlineError): Promise<void> {
    this.state = 'quarantined';
    this.#failItems(error);
    return this.#ended;
  }

  stop(): Promise<void> {
    if (this.#batches.length > 0) this.state = 'stopping';
    else if (this.state !== 'quarantined' && this.state !== 'stopping') this.#end();
    return this.#ended;
  }

  /** A quarantined worker's native call returns: it ends. */
  leave(): void {
    this.#end();
  }

  #failItems(error: MarlineError): void {
    for (const { items, sink } of this.#batches) {
      const ids = [...items.keys()];
      items.clear();
      for (const id of ids) sink.error(id, error);
    }
  }

  #end(): void {
    this.state = 'stopped';
    for (const { finish } of this.#batches.splice(0)) finish();
    this.#resolveEnded();
  }
}
