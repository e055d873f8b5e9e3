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
  #batch: { items: Map<string, BatchItem>; sink: BatchSink; finish: () => void } | undefined;

  constructor(
    readonly id: number,
    readonly events: WorkerEvents,
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
    this.state = 'busy';
    return new Promise((finish) => {
      this.#batch = { items: new Map(batch.map((item) => [item.id, item])), sink, finish };
    });
  }

  /** Ids of the items that have no answer yet. */
  get running(): string[] {
    return [...(this.#batch?.items.keys() ?? [])];
  }

  get sink(): BatchSink | undefined {
    return this.#batch?.sink;
  }

  /** Answers every item with `text`; the worker is idle again, or gone when it was stopping. */
  answer(text = 'ok'): void {
    const batch = this.#batch;
    if (batch === undefined) throw new Error(`Worker ${this.id} runs nothing.`);
    for (const id of batch.items.keys()) batch.sink.result(id, textResult(text));
    this.#batch = undefined;
    if (this.state === 'busy') this.state = 'idle';
    else this.#end();
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
    if (this.state === 'busy') this.state = 'stopping';
    else if (this.state !== 'quarantined' && this.state !== 'stopping') this.#end();
    return this.#ended;
  }

  /** A quarantined worker's native call returns: it ends. */
  leave(): void {
    this.#end();
  }

  #failItems(error: MarlineError): void {
    const ids = this.running;
    for (const id of ids) this.#batch?.items.delete(id);
    for (const id of ids) this.#batch?.sink.error(id, error);
  }

  #end(): void {
    this.state = 'stopped';
    this.#batch?.finish();
    this.#batch = undefined;
    this.#resolveEnded();
  }
}
