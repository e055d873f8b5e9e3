import {
  MarlineError,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
  type HookTimings,
  type ProtocolInput,
  type RawInput,
  type TensorInput,
  type Tensors,
  type ValueInput,
} from '#libs/common';
import { HandlerRunner, type BaseHandler, type HandlerSetup, type ModelBinding } from '#libs/handler';
import { Batcher } from './batcher.js';
import type { Queued, Standing } from './batching-policy.js';
import { PendingAnswer, type AnswerBounds } from './pending-answer.js';
import type { RunQueue } from './run-queue.js';
import type { WorkerReady } from './worker-model.js';

/** One request for a host handler. */
export type HostItem = BatchItem<RawInput | ProtocolInput | TensorInput | ValueInput>;

interface HostRun {
  readonly item: HostItem;
  readonly pending: PendingAnswer;
  readonly bounds: AnswerBounds;
  readonly standing: Standing;
}

/** What a host handler runs with. */
export interface HostHandlerOptions {
  readonly setup: HandlerSetup;
  readonly metadata: WorkerReady;
  readonly queue: RunQueue;
  readonly clock: Clock;
  readonly batchSize: () => number;
  readonly maxBatchDelayMs: number;
  /** How many requests may be inside hooks at once. */
  readonly limit: () => number;
  readonly full: () => MarlineError;
  /** Told what the hooks of each request, or batch, took. */
  readonly hooksRan: (durationMs: number, timings: HookTimings) => void;
}

/**
 * The hooks of a handler of the host application. They run on the main thread, next to its repositories and services;
 * only the tensors that they make go through the queue to a worker. One request at a time by default; a handler with
 * its own `handle` gets batches, and each of its runs goes to a worker as it is.
 */
export class HostHandler {
  readonly #batcher: Batcher<HostRun> | undefined;
  #inside = 0;

  constructor(
    private readonly handler: BaseHandler,
    private readonly options: HostHandlerOptions,
  ) {
    if (handler.handle === undefined) return;
    const { batchSize, maxBatchDelayMs, clock, limit, full } = options;
    this.#batcher = new Batcher<HostRun>({
      batchSize,
      maxBatchDelayMs,
      queueSize: limit(),
      clock,
      idle: () => (this.#inside < limit() ? 1 : 0),
      ready: () => 1,
      dispatch: (batch) => this.#enter(batch.map((entry: Queued<HostRun>) => entry.item)),
      full,
      overloaded: full,
    });
  }

  initialize(): Promise<void> {
    return this.#runner({}, {}, 'initialize', () => {}).initialize();
  }

  /** @throws MarlineError `QUEUE_FULL` when too many requests are inside hooks already */
  submit(item: HostItem, pending: PendingAnswer, bounds: AnswerBounds, standing: Standing): void {
    const run: HostRun = { item, pending, bounds, standing };
    if (this.#batcher !== undefined) {
      this.#batcher.submit(run, bounds, (error) => pending.error(error), standing);
      return;
    }
    if (this.#inside >= this.options.limit()) throw this.options.full();
    this.#enter([run]);
  }

  #enter(runs: readonly HostRun[]): void {
    this.#inside += runs.length;
    for (const { pending, bounds } of runs) {
      pending.watch(bounds, () => {});
      // Counted until it is answered, not until the hook returns: a hook that never does would use up the places.
      void pending.promise.catch(() => {}).finally(() => this.#leave());
    }
    const byId = new Map(runs.map((run) => [run.item.id, run.pending]));
    const sink: BatchSink = {
      chunk: (id, chunk) => byId.get(id)?.chunk(chunk) ?? Promise.resolve(),
      result: (id, result) => byId.get(id)?.result(result),
      ran: (_items, durationMs, hooks) => {
        if (hooks !== undefined) this.options.hooksRan(durationMs, hooks);
      },
      error: (id, error) => byId.get(id)?.error(error),
    };
    // A batch is as urgent as nobody in it: each member's own deadline answers it in time.
    const [first] = runs;
    const alone = runs.length === 1 && first !== undefined;
    const waited = (queueMs: number) => {
      for (const { pending } of runs) pending.queueMs += queueMs;
    };
    this.#runner(alone ? first.bounds : {}, alone ? first.standing : {}, first?.item.id ?? '', waited)
      .run(
        runs.map((run) => run.item),
        sink,
      )
      .catch((error: unknown) => {
        for (const { pending } of runs) pending.error(toMarlineError(error));
      });
  }

  #leave(): void {
    this.#inside--;
    this.#batcher?.wake();
  }

  /**
   * @param id of the request, or of the first of a batch: what its runs are told to the observer as
   * @param waited told how long each of its runs waited for a worker, in milliseconds
   */
  #runner(
    bounds: AnswerBounds,
    standing: Standing,
    id: string,
    waited: (queueMs: number) => void,
  ): HandlerRunner {
    const { setup, metadata } = this.options;
    let runs = 0;
    const nextId = () => (++runs === 1 ? id : `${id}#${runs}`);
    const binding: ModelBinding = {
      ...metadata,
      run: (tensors) => this.#run(nextId(), tensors, bounds, standing, waited),
    };
    return new HandlerRunner(this.handler, { setup, binding, output: 'value' });
  }

  async #run(
    id: string,
    tensors: Tensors,
    bounds: AnswerBounds,
    standing: Standing,
    waited: (queueMs: number) => void,
  ): Promise<Tensors> {
    const pending = new PendingAnswer(this.options.clock);
    this.options.queue.submit({ id, input: { kind: 'tensors', tensors } }, pending, bounds, standing);
    const answer = await pending.promise;
    waited(pending.queueMs);
    if (answer.streaming || answer.result.output.kind !== 'tensors') {
      throw new MarlineError('INTERNAL', { reason: 'A worker answered tensors with something else.' });
    }
    return answer.result.output.tensors;
  }
}
