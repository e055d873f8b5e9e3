import {
  MarlineError,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type HookTimings,
  type InferenceObserver,
  type ItemResult,
  type ModelRef,
} from '#libs/common';
import type { WorkerPool } from '#libs/pool';
import { Batcher, type BatcherOptions } from './batcher.js';
import type { BatchingPolicy, Queued, Standing } from './batching-policy.js';
import { CycleAnswers, type Run } from './cycle-answers.js';
import type { AnswerBounds, PendingAnswer } from './pending-answer.js';
import { SequenceBatcher } from './sequence-batcher.js';
import { sequenceOf, type SequenceHeaders, type SequenceStep } from './sequence-headers.js';
import type { StatefulSettings } from './stateful-settings.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/** What a queue passes on to its batcher. */
type Passed = 'clock' | 'batchSize' | 'adaptive' | 'steady' | 'handsOver' | 'maxBatchDelayMs' | 'queueSize';

/** What a queue needs to know beside its pool. */
export interface RunQueueOptions extends Required<Pick<BatcherOptions<Run>, Passed>> {
  readonly ref: ModelRef;
  readonly observer: InferenceObserver;
  /** True: only what an idle worker can take is accepted, one request each (TorchServe's `useJobTicket`). */
  readonly tickets: boolean;
  /** False when the hooks that count run on the main thread, and those of the workers only pass tensors on. */
  readonly tellsHooks: boolean;
  /** False when no worker runs and none will. */
  readonly canServe: () => boolean;
  /** Present when workers remember requests from one batch to the next. */
  readonly stateful?: StatefulSettings;
  readonly sequenceHeaders: SequenceHeaders;
  /** Most sequences of one worker. */
  readonly sequencesPerWorker: () => number;
}

/** The way of one model version from single items to its workers: queue, batch, run, and each answer back to who waits for it. */
export class RunQueue {
  readonly #batcher: BatchingPolicy<Run>;
  /** The same, where workers remember requests. */
  readonly #sequences: SequenceBatcher<Run> | undefined;
  readonly #learn: (items: number, durationMs: number) => void;

  constructor(
    private readonly pool: WorkerPool<WorkerModel, WorkerReady>,
    private readonly options: RunQueueOptions,
  ) {
    if (options.stateful === undefined) {
      const batcher = this.#plainBatcher();
      this.#batcher = batcher;
      this.#learn = (items, durationMs) => batcher.learn(items, durationMs);
    } else {
      this.#sequences = this.#sequenceBatcher(options.stateful);
      this.#batcher = this.#sequences;
      this.#learn = () => {};
    }
  }

  #plainBatcher(): Batcher<Run> {
    const { ref, batchSize, queueSize, tickets } = this.options;
    return new Batcher<Run>({
      ...this.options,
      batchSize: tickets ? () => 1 : batchSize,
      queueSize: tickets ? 0 : queueSize,
      idle: () => this.pool.room,
      ready: () => this.pool.readyCount,
      dispatch: (batch, delayedMs) => this.#dispatch(batch, delayedMs),
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

  #sequenceBatcher({ limits }: StatefulSettings): SequenceBatcher<Run> {
    const { ref, clock, batchSize, maxBatchDelayMs, queueSize, sequencesPerWorker } = this.options;
    return new SequenceBatcher<Run>({
      batchSize,
      maxBatchDelayMs,
      queueSize,
      limits,
      perWorker: sequencesPerWorker,
      clock,
      idle: () => this.pool.idleWorkers(),
      isIdle: (workerId) => this.pool.isIdle(workerId),
      dispatch: (batch, workerId) => this.#dispatch(batch, 0, workerId),
      goesOn: (run) => this.#goesOn(run),
      full: () => new MarlineError('QUEUE_FULL', { model: ref.model }),
      refused: (reason) => new MarlineError('SEQUENCE_REFUSED', { model: ref.model, reason }),
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
   * @throws MarlineError `NO_WORKER` when nothing can ever run it, `QUEUE_FULL`, `OVERLOADED`, `SEQUENCE_REFUSED`, `INVALID_INPUT`,
   * `DEADLINE_EXCEEDED`, `REQUEST_CANCELLED`
   */
  submit(
    item: BatchItem,
    pending: PendingAnswer,
    bounds: AnswerBounds,
    standing: Standing & { readonly sequence?: SequenceStep } = {},
  ): void {
    const { ref, observer, canServe } = this.options;
    if (!canServe()) throw new MarlineError('NO_WORKER', { model: ref.model });
    if (this.#sequences === undefined)
      this.#batcher.submit({ item, pending }, bounds, (error) => pending.error(error), standing);
    else this.#submitStep({ item, pending }, bounds, standing);
    observer.requestQueued(ref, item.id);
  }

  #submitStep(
    run: Run,
    bounds: AnswerBounds,
    standing: Standing & { readonly sequence?: SequenceStep },
  ): void {
    const { ref, tickets, stateful, sequenceHeaders } = this.options;
    if (tickets && this.#batcher.pending >= this.pool.idleWorkers().length)
      throw new MarlineError('QUEUE_FULL', { model: ref.model });
    const dropped = (error: MarlineError) => this.#fail(run, error);
    const { id, input } = run.item;
    // Tensors come without headers, so that no handler could tell their sequence.
    const isNamed = input.kind === 'raw' || standing.sequence !== undefined;
    if (stateful?.limits === undefined || standing.alone === true || !isNamed) {
      this.#batcher.submit(run, bounds, dropped, standing);
      return;
    }
    const { input: told, ...step } = sequenceOf(input, standing.sequence, sequenceHeaders);
    run.item = { id, input: told };
    this.#batcher.submit(run, bounds, dropped, { ...standing, step });
  }

  /** A worker became idle. */
  wake(): void {
    this.#batcher.wake();
  }

  /** Fails what waits, because no worker will come. */
  abandon(error: MarlineError): void {
    this.#batcher.rejectAll(error);
  }

  /** A worker is gone, and with it what it remembered. */
  lost(workerId: number, error: MarlineError): void {
    this.#sequences?.lose(workerId, error);
  }

  /** True while the sequence of this id goes on here. */
  knows(sequence: string): boolean {
    return this.#sequences?.knows(sequence) === true;
  }

  /** True while a worker remembers requests that may go on. */
  isNeeded(workerId: number): boolean {
    return this.#sequences?.isHome(workerId) === true;
  }

  /** Resolves when a worker remembers nothing that may go on; `undefined` when that is so now. */
  whenFree(workerId: number): Promise<void> | undefined {
    return this.#sequences?.whenLeft(workerId);
  }

  #dispatch(batch: readonly Queued<Run>[], delayedMs: number, workerId?: number): void {
    const { ref } = this.options;
    for (const { item, bounds, again } of batch)
      if (again !== true) item.pending.watch(bounds, () => this.pool.cancel(item.item.id));
    const answers = new BatchAnswers(batch, this.options, delayedMs, this.#learn);
    const sink = workerId === undefined ? answers : this.#cycle(batch, answers, workerId);
    try {
      const items = batch.map((entry) => entry.item.item);
      if (!this.pool.run(items, sink, workerId)) throw new MarlineError('NO_WORKER', { model: ref.model });
    } catch (error) {
      for (const { item } of batch) answers.error(item.item.id, toMarlineError(error));
    }
  }

  /** A request that is in a batch again comes without its parameters: its worker knows them. */
  #cycle(batch: readonly Queued<Run>[], answers: BatchSink, workerId: number): BatchSink {
    const { clock, stateful, sequenceHeaders } = this.options;
    for (const { item: run, again } of batch) {
      run.goesOn = false;
      run.startedAt ??= clock.now();
      const { id, input } = run.item;
      if (again === true && input.kind === 'raw') run.item = { id, input: { ...input, parameters: [] } };
    }
    const runs = new Map(batch.map(({ item: run }) => [run.item.id, run]));
    return new CycleAnswers(runs, answers, stateful?.continuous === true, sequenceHeaders.end, (ids) =>
      this.#sequences?.close(ids, workerId),
    );
  }

  #goesOn(run: Run): boolean {
    if (run.goesOn !== true || !run.pending.unread) return run.goesOn === true;
    run.goesOn = false;
    this.#fail(run, new MarlineError('REQUEST_CANCELLED'));
    return false;
  }

  #fail({ item, pending }: Run, error: MarlineError): void {
    // Any other failure is told where the answer is awaited.
    if (pending.streaming) this.options.observer.requestFailed(this.options.ref, item.id, error);
    pending.error(error);
  }
}

/** Carries what a worker says about the items of one batch to those who wait for them, and to the observer. */
class BatchAnswers implements BatchSink {
  readonly #entries = new Map<string, Queued<Run>>();
  readonly #startedAt: number;
  /** What the worker's runs of this batch took so far. */
  #ranMs = 0;

  constructor(
    batch: readonly Queued<Run>[],
    private readonly options: RunQueueOptions,
    private readonly delayedMs: number,
    private readonly learn: (items: number, durationMs: number) => void,
  ) {
    this.#startedAt = options.clock.now();
    for (const entry of batch) {
      this.#entries.set(entry.item.item.id, entry);
      // In a cycle of continuous batching it waited before the first one only.
      entry.item.pending.queueMs = (entry.item.startedAt ?? this.#startedAt) - entry.queuedAt;
    }
  }

  ran(items: number, durationMs: number, hooks?: HookTimings): void {
    const { ref, clock, observer, tellsHooks } = this.options;
    this.learn(items, durationMs);
    const sinceStartMs = clock.now() - this.#startedAt;
    this.#ranMs += durationMs;
    observer.batchRan(ref, { items, durationMs, handOverMs: Math.max(0, sinceStartMs - this.#ranMs) });
    if (tellsHooks) observer.hooksRan(ref, durationMs, hooks);
  }

  chunk(id: string, chunk: ItemResult): Promise<void> {
    return this.#entries.get(id)?.item.pending.chunk(chunk) ?? Promise.resolve();
  }

  result(id: string, result: ItemResult): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const { ref, clock, observer, batchSize } = this.options;
    const { pending } = entry.item;
    if (pending.abandoned) observer.runWasted(ref, id);
    // It was told as failed when its caller gave up; only a stream was not.
    if (pending.abandoned && !pending.streaming) return;
    const now = clock.now();
    // Where several runs were handed over together, those before its own are time that it waited, too.
    const startedAt = entry.item.startedAt ?? Math.min(now, this.#startedAt + this.#ranMs);
    const queueMs = startedAt - entry.queuedAt;
    pending.queueMs = queueMs;
    pending.result(result);
    observer.requestFinished(ref, id, {
      queueMs,
      batchWaitMs: Math.min(queueMs, this.delayedMs),
      runMs: now - startedAt,
      totalMs: now - entry.queuedAt,
      batchSize: Math.min(this.#entries.size, Math.max(1, batchSize())),
    });
  }

  error(id: string, error: MarlineError): void {
    const pending = this.#entries.get(id)?.item.pending;
    // Any other failure is told where the answer is awaited.
    if (pending?.streaming === true) this.options.observer.requestFailed(this.options.ref, id, error);
    pending?.error(error);
  }
}
