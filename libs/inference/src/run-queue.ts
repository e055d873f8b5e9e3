import {
  MarlineError,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
  type InferenceObserver,
  type ItemResult,
  type ModelRef,
} from '#libs/common';
import type { WorkerPool } from '#libs/pool';
import { Batcher } from './batcher.js';
import type { Queued, Standing } from './batching-policy.js';
import type { AnswerBounds, PendingAnswer } from './pending-answer.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/** What a queue needs to know beside its pool. */
export interface RunQueueOptions {
  readonly ref: ModelRef;
  readonly clock: Clock;
  readonly observer: InferenceObserver;
  /** Asked for every batch, because the model's own batch axis is known only once it is loaded. */
  readonly batchSize: () => number;
  /** True: the size of a run is learned, up to `batchSize`. */
  readonly adaptive: boolean;
  /** True when no code of an archive runs in the workers: a hook that hangs must take no more than its own run along. */
  readonly handsOver: boolean;
  /** Milliseconds that a batch waits to fill; 0 = it never waits while a worker is idle. */
  readonly maxBatchDelayMs: number;
  readonly queueSize: number;
  /** True: only what an idle worker can take is accepted, one request each (TorchServe's `useJobTicket`). */
  readonly tickets: boolean;
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
    const { ref, clock, batchSize, adaptive, handsOver, maxBatchDelayMs, queueSize, tickets } = options;
    this.#batcher = new Batcher<Run>({
      batchSize: tickets ? () => 1 : batchSize,
      adaptive,
      handsOver,
      maxBatchDelayMs,
      queueSize: tickets ? 0 : queueSize,
      clock,
      idle: () => pool.room,
      ready: () => pool.readyCount,
      dispatch: (batch) => this.#dispatch(batch),
      full: () => new MarlineError('QUEUE_FULL', { model: ref.model }),
      overloaded: (expectedMs, { deadlineMs }) =>
        new MarlineError('OVERLOADED', {
          model: ref.model,
          deadlineMs,
          expectedMs: Math.ceil(expectedMs),
          retryAfterMs: Math.ceil(expectedMs),
        }),
    });
  }

  get pendingRequests(): number {
    return this.#batcher.pending;
  }

  get remainingCapacity(): number {
    const { tickets, queueSize } = this.options;
    return tickets ? queueSize - this.pendingRequests : this.#batcher.remaining;
  }

  /** Milliseconds that the oldest of the waiting requests has waited; 0 when none waits. */
  get oldestWaitMs(): number {
    return this.#batcher.oldestWaitMs;
  }

  /**
   * Queues one item; what becomes of it is told to `pending`.
   * @throws MarlineError `NO_WORKER` when nothing can ever run it, `QUEUE_FULL`, `OVERLOADED`, `DEADLINE_EXCEEDED`, `REQUEST_CANCELLED`
   */
  submit(item: BatchItem, pending: PendingAnswer, bounds: AnswerBounds, standing?: Standing): void {
    const { ref, observer } = this.options;
    if (!this.options.canServe()) throw new MarlineError('NO_WORKER', { model: ref.model });
    this.#batcher.submit({ item, pending }, bounds, (error) => pending.error(error), standing);
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
    const { ref } = this.options;
    for (const { item, bounds } of batch) item.pending.watch(bounds, () => this.pool.cancel(item.item.id));
    const answers = new BatchAnswers(batch, this.options, (items, ms) => this.#batcher.learn(items, ms));
    try {
      const items = batch.map((entry) => entry.item.item);
      if (!this.pool.run(items, answers)) throw new MarlineError('NO_WORKER', { model: ref.model });
    } catch (error) {
      for (const { item } of batch) answers.error(item.item.id, toMarlineError(error));
    }
  }
}

/** Carries what a worker says about the items of one batch to those who wait for them, and to the observer. */
class BatchAnswers implements BatchSink {
  readonly #entries = new Map<string, Queued<Run>>();
  readonly #startedAt: number;

  constructor(
    batch: readonly Queued<Run>[],
    private readonly options: RunQueueOptions,
    readonly ran: (items: number, durationMs: number) => void,
  ) {
    for (const entry of batch) this.#entries.set(entry.item.item.id, entry);
    this.#startedAt = options.clock.now();
  }

  chunk(id: string, chunk: ItemResult): Promise<void> {
    return this.#entries.get(id)?.item.pending.chunk(chunk) ?? Promise.resolve();
  }

  result(id: string, result: ItemResult): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const { ref, clock, observer } = this.options;
    const { pending } = entry.item;
    if (pending.abandoned) observer.runWasted(ref, id);
    // It was told as failed when its caller gave up; only a stream was not.
    if (pending.abandoned && !pending.streaming) return;
    pending.result(result);
    const now = clock.now();
    observer.requestFinished(ref, id, {
      queueMs: this.#startedAt - entry.queuedAt,
      runMs: now - this.#startedAt,
      totalMs: now - entry.queuedAt,
      batchSize: this.#entries.size,
    });
  }

  error(id: string, error: MarlineError): void {
    const pending = this.#entries.get(id)?.item.pending;
    // Any other failure is told where the answer is awaited.
    if (pending?.streaming === true) this.options.observer.requestFailed(this.options.ref, id, error);
    pending?.error(error);
  }
}
