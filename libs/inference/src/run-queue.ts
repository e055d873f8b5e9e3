import {
  MarlineError,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
  type InferenceObserver,
  type ModelRef,
} from '#libs/common';
import type { WorkerPool } from '#libs/pool';
import { Batcher, type Queued } from './batcher.js';
import type { AnswerBounds, PendingAnswer } from './pending-answer.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/** What a queue needs to know beside its pool. */
export interface RunQueueOptions {
  readonly ref: ModelRef;
  readonly clock: Clock;
  readonly observer: InferenceObserver;
  /** Asked for every batch, because the model's own batch axis is known only once it is loaded. */
  readonly batchSize: () => number;
  /** Milliseconds that a batch waits to fill; 0 = it never waits while a worker is idle. */
  readonly maxBatchDelayMs: number;
  readonly queueSize: number;
  /** False when no worker runs and none will. */
  readonly canServe: () => boolean;
}

interface Run {
  readonly item: BatchItem;
  readonly pending: PendingAnswer;
}

/** The way of one model version from single items to its workers: queue, batch, run, and each answer back to who waits for it. */
export class RunQueue {
  readonly #batcher: Batcher<Run>;

  constructor(
    private readonly pool: WorkerPool<WorkerModel, WorkerReady>,
    private readonly options: RunQueueOptions,
  ) {
    const { ref, clock, batchSize, maxBatchDelayMs, queueSize } = options;
    this.#batcher = new Batcher<Run>({
      batchSize,
      maxBatchDelayMs,
      queueSize,
      clock,
      canDispatch: () => pool.idleCount > 0,
      dispatch: (batch) => this.#dispatch(batch),
      full: () => new MarlineError('QUEUE_FULL', { model: ref.model }),
    });
  }

  get pendingRequests(): number {
    return this.#batcher.pending;
  }

  get remainingCapacity(): number {
    return this.#batcher.remaining;
  }

  /**
   * Queues one item; what becomes of it is told to `pending`.
   * @throws MarlineError `NO_WORKER` when nothing can ever run it, `QUEUE_FULL`
   */
  submit(item: BatchItem, pending: PendingAnswer, bounds: AnswerBounds): void {
    const { ref, observer } = this.options;
    if (!this.options.canServe()) throw new MarlineError('NO_WORKER', { model: ref.model });
    this.#batcher.submit({ item, pending }, bounds, (error) => pending.error(error));
    observer.requestQueued(ref, item.id);
  }

  /** A worker became idle. */
  wake(): void {
    this.#batcher.wake();
  }

  /** Fails what waits, because no worker will come. */
  abandon(error: MarlineError): void {
    this.#batcher.rejectAll(error);
  }

  #dispatch(batch: readonly Queued<Run>[]): void {
    const { ref, clock, observer } = this.options;
    const startedAt = clock.now();
    const runs = new Map(batch.map((entry) => [entry.item.item.id, entry]));
    for (const { item, bounds } of batch) item.pending.watch(bounds, () => this.pool.cancel(item.item.id));

    const sink: BatchSink = {
      chunk: (id, chunk) => runs.get(id)?.item.pending.chunk(chunk) ?? Promise.resolve(),
      result: (id, result) => {
        const entry = runs.get(id);
        if (entry === undefined) return;
        entry.item.pending.result(result);
        const now = clock.now();
        observer.requestFinished(ref, id, {
          queueMs: startedAt - entry.queuedAt,
          runMs: now - startedAt,
          totalMs: now - entry.queuedAt,
          batchSize: batch.length,
        });
      },
      ran: () => {},
      error: (id, error) => {
        const pending = runs.get(id)?.item.pending;
        // Any other failure is told where the answer is awaited.
        if (pending?.streaming === true) observer.requestFailed(ref, id, error);
        pending?.error(error);
      },
    };
    try {
      const items = batch.map((entry) => entry.item.item);
      if (!this.pool.run(items, sink)) throw new MarlineError('NO_WORKER', { model: ref.model });
    } catch (error) {
      for (const { item } of batch) sink.error(item.item.id, toMarlineError(error));
    }
  }
}
