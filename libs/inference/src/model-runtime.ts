import type { ModelArchive } from '#libs/archive';
import { MarlineError, messageOf, toMarlineError, type AnswerTimings, type ModelRef } from '#libs/common';
import type { HandlerPlan } from '#libs/handler';
import { WorkerPool, type PooledState } from '#libs/pool';
import { Autoscaler, type AutoscalerOptions } from './autoscaler.js';
import { handlerDescription } from './handler-description.js';
import { HostRoute } from './host-route.js';
import { bytesOf, type Claim } from './memory-budget.js';
import { ModelLoader, type RuntimeHost, type RuntimeModel } from './model-loader.js';
import { learnsBatchSizes, withWorkers, type ModelSettings } from './model-settings.js';
import { PendingAnswer, PendingAnswers, type AnswerBounds } from './pending-answer.js';
import { toWorkerInput, type PredictionAnswer, type PredictionRequest } from './prediction.js';
import { createPythonWorker } from './python-workers.js';
import { RunQueue } from './run-queue.js';
import { sequenceHeaders, type SequenceHeaders } from './sequence-headers.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/** One worker of a model version, for describe. */
export interface WorkerInfo {
  readonly id: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly state: PooledState;
  readonly pid: number;
  readonly gpuId: number | null;
  /** Why it is not ready. */
  readonly error?: MarlineError;
}

/** How a model version stands; `stopped` has no workers because nobody asked for any, or because they failed when it was registered. */
export interface ModelStatus {
  readonly status: 'ready' | 'starting' | 'unavailable' | 'failed' | 'stopped';
  readonly readyWorkers: number;
  /** Why there are fewer workers than were asked for. */
  readonly error?: MarlineError;
}

/** One loaded version of a model: its handler, its queue and its pool of workers. */
export class ModelRuntime {
  readonly name: string;
  readonly version: string;
  readonly archive: ModelArchive;
  readonly loadedAtStartup: boolean;
  /** The names by which its handler knows sequences. */
  readonly sequenceHeaders: SequenceHeaders;
  #settings: ModelSettings;
  readonly #plan: HandlerPlan;
  readonly #ref: ModelRef;
  readonly #pool: WorkerPool<WorkerModel, WorkerReady>;
  readonly #queue: RunQueue;
  readonly #loader: ModelLoader;
  readonly #autoscaler: Autoscaler;
  #preparing: Promise<void> | undefined;
  /** Present when a handler of the application serves the model. */
  readonly #hostRoute: HostRoute | undefined;
  #failure: MarlineError | undefined;
  /** What the worker told that became ready last. */
  #steady = false;
  #scaling = 0;
  #draining: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  /** What callers wait for. */
  readonly #pending = new PendingAnswers();
  #whenQuiet: (() => void)[] = [];

  constructor(
    model: RuntimeModel,
    private readonly host: RuntimeHost,
  ) {
    const { options, clock, workers } = host;
    this.name = model.name;
    this.version = model.version;
    this.archive = model.archive;
    this.loadedAtStartup = model.loadedAtStartup;
    this.#settings = model.settings;
    this.#plan = model.plan;
    this.#ref = { model: model.name, version: model.version };
    this.#loader = new ModelLoader(model, host);
    this.sequenceHeaders = sequenceHeaders(options);
    const ref = this.#ref;

    this.#pool = new WorkerPool<WorkerModel, WorkerReady>({
      create: (id, events) =>
        model.plan.runs === 'python'
          ? createPythonWorker(
              id,
              events,
              { ...model, settings: this.#settings, handler: model.plan.handler },
              options,
              this.#loader.packages,
            )
          : workers.create(id, events, ref, model.settings),
      nextId: () => workers.nextId(),
      modelFor: () => this.#loader.workerModel(this.#pool.readyCount > 0),
      releaseModel: (loaded) => this.#loader.releaseModel(loaded),
      runTimeoutMs: Math.max(0, model.settings.responseTimeout * 1000),
      retryWindowMs: model.settings.maxRetryTimeoutInSec * 1000,
      clock,
      observer: ({ workerId, state, error }) => {
        options.observer.workerChanged(ref, workerId, state, error);
        if (state !== 'starting' && state !== 'idle')
          this.#queue.lost(workerId, error ?? new MarlineError('NO_WORKER', { model: this.name }));
        if (state === 'failed' && !this.#canServe())
          this.#queue.abandon(new MarlineError('NO_WORKER', { model: this.name }));
      },
      onReady: ({ steady = false }) => {
        this.#steady = steady;
      },
      onIdle: () => {
        this.#autoscaler.freed();
        this.#queue.wake();
      },
      mayStop: (workerId) => this.#queue.whenFree(workerId),
      metric: (_workerId, metric) => options.observer.handlerMetric(ref, metric),
      log: (workerId, level, text) => options.observer.workerLogged(ref, workerId, level, text),
    });
    this.#queue = new RunQueue(this.#pool, {
      ref,
      clock,
      observer: options.observer,
      // The model's own batch axis is known only once it is loaded.
      batchSize: () => this.#loader.batchSize,
      adaptive: learnsBatchSizes(model.settings),
      steady: () => this.#steady,
      // A hook that hangs must take no more than its own run along.
      handsOver: !runsCodeOfArchive(model.plan),
      maxBatchDelayMs: model.settings.waitsForBatch ? Math.max(0, model.settings.maxBatchDelay) : 0,
      queueSize: model.settings.jobQueueSize,
      tickets: model.settings.config.useJobTicket ?? false,
      tellsHooks: model.plan.runs !== 'host',
      canServe: () => this.#canServe(),
      stateful: model.settings.stateful,
      sequenceHeaders: this.sequenceHeaders,
      sequencesPerWorker: () => {
        const { stateful, minWorkers } = this.#settings;
        return Math.floor((stateful?.limits?.most ?? 0) / Math.max(1, minWorkers));
      },
    });
    if (model.plan.runs === 'host')
      this.#hostRoute = new HostRoute(model.plan, {
        ref,
        clock,
        observer: options.observer,
        settings: model.settings,
        loader: this.#loader,
        queue: this.#queue,
        readyWorkers: () => this.#pool.readyCount,
        pending: () => this.#pending.size,
        prepared: () => this.#prepare(),
      });
    const { scaleUpQueueMs, scaleDownIdleMs } = model.settings;
    this.#autoscaler = new Autoscaler({
      clock,
      queue: this.#queue,
      workers: this.#scaledWorkers(),
      resize: (count) => this.#resize(count),
      scaleUpQueueMs,
      scaleDownIdleMs,
      failed: (error, retryMs) =>
        host.warn(
          `Model ${this.name} ${this.version} has no more workers than before: ${messageOf(error.cause ?? error)} The next attempt is made after ${retryMs} ms, if it needs one then.`,
        ),
    });
  }

  /** The settings in force; a scale call changes the worker counts. */
  get settings(): ModelSettings {
    return this.#settings;
  }

  /**
   * Answers one request.
   * Rejects with a MarlineError: `NO_WORKER`, `QUEUE_FULL`, `OVERLOADED`, `SEQUENCE_REFUSED`, `DEADLINE_EXCEEDED`, `REQUEST_CANCELLED`,
   * `SHUTTING_DOWN`, or what went wrong in the handler or the model.
   */
  predict(request: PredictionRequest): Promise<PredictionAnswer> {
    const { clock, options } = this.host;
    const receivedAt = clock.now();
    options.observer.requestReceived(this.#ref, request.id, request.version);
    const pending: PendingAnswer = new PendingAnswer(clock, (error) => {
      this.#pending.delete(pending);
      if (this.#pending.size === 0) for (const quiet of this.#whenQuiet.splice(0)) quiet();
      if (error === undefined) {
        const timings: AnswerTimings = { queueMs: pending.queueMs, totalMs: clock.now() - receivedAt };
        options.observer.requestAnswered(this.#ref, request.id, timings, request.version);
      } else {
        options.observer.requestFailed(this.#ref, request.id, error);
      }
    });
    this.#pending.add(pending);
    try {
      if (this.#draining !== undefined) throw new MarlineError('SHUTTING_DOWN');
      if (!this.canAnswer) throw new MarlineError('NO_WORKER', { model: this.name });
      this.#autoscaler.requested();
      this.#route(request, pending);
    } catch (error) {
      pending.error(toMarlineError(error));
    }
    return pending.promise;
  }

  /**
   * Refuses a request that finds no room before its body is read.
   * @param asked the version that the caller named
   */
  refuseUnread(requestId: string, asked: string | undefined): MarlineError {
    const { observer } = this.host.options;
    const error = new MarlineError('QUEUE_FULL', { model: this.name });
    observer.requestReceived(this.#ref, requestId, asked);
    observer.requestFailed(this.#ref, requestId, error);
    return error;
  }

  /**
   * Grows to `minWorkers` or shrinks to `maxWorkers`; a count in between stays. Running and queued requests are finished
   * first by workers that leave. From then on the number of workers follows the load between the two.
   * @throws MarlineError `INSUFFICIENT_MEMORY`, and then nothing changes; `WORKERS_NOT_STARTED` with the real cause
   */
  async scale(minWorkers: number, maxWorkers: number): Promise<void> {
    if (this.#draining !== undefined) throw new MarlineError('SHUTTING_DOWN');
    const range = withWorkers(this.#settings, minWorkers, maxWorkers);
    const target = this.#targetWithin(range);
    this.host.memory.claim(this, this.#claimFor(Math.max(target, this.#pool.target)));
    this.#settings = range;
    this.#scaling++;
    this.#autoscaler.stop();
    try {
      if (target === 0) {
        await this.#quiet();
        // Sequences cannot go on.
        this.#queue.abandon(new MarlineError('NO_WORKER', { model: this.name }));
      } else await this.#prepare();
      await this.#resize(target);
      if (target > 0) this.#failure = undefined;
    } catch (cause) {
      this.#failure = toMarlineError(cause);
      throw new MarlineError('WORKERS_NOT_STARTED', { ...this.#ref }, { cause });
    } finally {
      this.#scaling--;
      if (this.#scaling === 0 && this.#draining === undefined) {
        this.host.memory.claim(this, this.#claimFor(this.#pool.target));
        const { minWorkers: least, maxWorkers: most, isolation } = this.#settings;
        this.#autoscaler.start(least, most);
        this.host.workers.keepSpare(this, isolation === 'thread' && most > Math.max(1, least));
      }
      if (!this.#canServe()) this.#queue.abandon(new MarlineError('NO_WORKER', { model: this.name }));
    }
  }

  /** Claims the memory of the workers that its settings ask for. @throws MarlineError `INSUFFICIENT_MEMORY` */
  reserve(): void {
    this.host.memory.claim(this, this.#claimFor(this.#settings.minWorkers));
  }

  /**
   * Whether a scale call would find the memory that it needs.
   * @throws MarlineError `INSUFFICIENT_MEMORY`, `BAD_REQUEST`
   */
  admit(minWorkers: number, maxWorkers: number): void {
    const target = this.#targetWithin(withWorkers(this.#settings, minWorkers, maxWorkers));
    this.host.memory.check(this, this.#claimFor(target));
  }

  /**
   * {@link handlerDescription}; an empty object when no code of an archive serves the model.
   * @param rawHeaders of whoever wants to know: names and values in turn
   * @throws MarlineError `NO_WORKER` when nobody can be asked
   */
  async describe(rawHeaders: readonly string[]): Promise<object> {
    if (!runsCodeOfArchive(this.#plan)) return {};
    return handlerDescription(this.name, (request) => this.predict(request), rawHeaders);
  }

  /** What the model takes and gives; both empty before its first worker, and for an archive without an ONNX file. */
  get metadata(): WorkerReady {
    return this.#loader.metadata;
  }

  workers(): WorkerInfo[] {
    return this.#pool.workers().map(({ model, id, startedAt, state, pid, error }) => ({
      id,
      startedAt,
      state,
      pid,
      gpuId: this.#loader.gpuIdOf(model),
      error,
    }));
  }

  /** False when it has no worker and none will come, and when it is about to go. */
  get canAnswer(): boolean {
    return this.#draining === undefined && this.#settings.maxWorkers > 0 && this.#canServe();
  }

  /** True when requests of one sequence belong together here. */
  get servesSequences(): boolean {
    return this.#settings.stateful?.limits !== undefined;
  }

  /** True while the sequence of this id goes on here. */
  knows(sequence: string): boolean {
    return this.#queue.knows(sequence);
  }

  queue(): { readonly remainingCapacity: number; readonly pendingRequests: number } {
    return { remainingCapacity: this.#queue.remainingCapacity, pendingRequests: this.#queue.pendingRequests };
  }

  status(): ModelStatus {
    const readyWorkers = this.#pool.readyCount;
    const error = this.#failure ?? this.#pool.failure;
    if (readyWorkers > 0 && readyWorkers >= this.#settings.minWorkers)
      return { status: 'ready', readyWorkers };
    if (this.#settings.minWorkers === 0 && this.#pool.target === 0)
      return { status: 'stopped', readyWorkers, error };
    if (!this.#canServe()) return { status: 'failed', readyWorkers, error };
    return { status: error === undefined ? 'starting' : 'unavailable', readyWorkers, error };
  }

  /**
   * Accepts nothing from now on and resolves when what was accepted is answered. What has no answer after `timeoutMs` gets
   * an error. May be called twice.
   */
  drain(timeoutMs: number): Promise<void> {
    this.#draining ??= this.#drain(timeoutMs);
    return this.#draining;
  }

  /** {@link ModelRuntime.drain}, then the workers are stopped and the archive is given back. May be called twice. */
  close(drainTimeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(drainTimeoutMs);
    return this.#closing;
  }

  #targetWithin({ minWorkers, maxWorkers }: ModelSettings): number {
    return Math.min(Math.max(this.#pool.target, minWorkers), maxWorkers);
  }

  /** What the autoscaler sees: while the worker that would leave first is needed for what it remembers, none is spare. */
  #scaledWorkers(): AutoscalerOptions['workers'] {
    const pool = this.#pool;
    if (this.#settings.stateful === undefined) return pool;
    const isNewestNeeded = () => this.#queue.isNeeded(pool.workers().at(-1)?.id ?? 0);
    return {
      get target() {
        return pool.target;
      },
      get readyCount() {
        return pool.readyCount;
      },
      get idleCount() {
        return isNewestNeeded() ? 0 : pool.idleCount;
      },
    };
  }

  #claimFor(workers: number): Claim {
    return { model: this.name, workers, bytes: bytesOf(this.#loader.footprint, workers) };
  }

  /** Memory is claimed before workers are made, and given back when they are gone. */
  async #resize(count: number): Promise<void> {
    const { memory } = this.host;
    memory.claim(this, this.#claimFor(Math.max(count, this.#pool.target)));
    try {
      await this.#pool.scale(count);
    } finally {
      // A version that is closed has no claim any more.
      if (this.#closing === undefined) memory.claim(this, this.#claimFor(this.#pool.target));
    }
  }

  async #drain(timeoutMs: number): Promise<void> {
    this.#autoscaler.stop();
    this.host.workers.keepSpare(this, false);
    let stopWaiting = () => {};
    const overdue = new Promise<'overdue'>((resolve) => {
      stopWaiting = this.host.clock.after(timeoutMs, () => resolve('overdue'));
    });
    const outcome = await Promise.race([this.#quiet(), overdue]);
    stopWaiting();
    // All that is left, also in hooks of the host that may never return, is answered now, while connections are open.
    this.#pending.fail(new MarlineError('SHUTTING_DOWN'));
    this.#queue.abandon(new MarlineError('SHUTTING_DOWN'));
    if (outcome === 'overdue') void this.#pool.close(0);
  }

  async #close(drainTimeoutMs: number): Promise<void> {
    const startedAt = this.host.clock.now();
    await this.drain(drainTimeoutMs);
    await this.#pool.close(Math.max(0, drainTimeoutMs - (this.host.clock.now() - startedAt)));
    this.host.memory.release(this);
    await this.#loader.release();
  }

  #route(request: PredictionRequest, pending: PendingAnswer): void {
    const { id, input, deadlineMs, signal, sequence } = request;
    if (sequence !== undefined && !this.servesSequences) {
      throw new MarlineError('INVALID_INPUT', {
        reason: `Model ${this.name} knows no sequences: set sequenceBatching in its model-config.yaml, or leave the sequence out.`,
      });
    }
    const deadlineAt = deadlineMs === undefined ? undefined : this.host.clock.now() + deadlineMs;
    const bounds: AnswerBounds = { deadlineMs, signal, deadlineAt };
    // Tensors of the protocol are for the model, whatever its handler.
    if (this.#hostRoute === undefined || input.kind === 'protocol')
      this.#queue.submit({ id, input: toWorkerInput(input) }, pending, bounds, request);
    else this.#hostRoute.submit({ id, input }, pending, bounds, request);
  }

  #canServe(): boolean {
    return this.#pool.alive > 0 || (this.#scaling > 0 && this.#settings.maxWorkers > 0);
  }

  #quiet(): Promise<void> {
    if (this.#pending.size === 0 || !this.#canServe()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenQuiet.push(resolve);
    });
  }

  /** Before the first worker: the model itself, then the host handler's `initialize`. Tried again after a failure. */
  async #prepare(): Promise<void> {
    const attempt = (this.#preparing ??= this.#prepareOnce());
    try {
      await attempt;
    } catch (error) {
      if (this.#preparing === attempt) this.#preparing = undefined;
      throw error;
    }
  }

  async #prepareOnce(): Promise<void> {
    await this.#loader.prepare();
    await this.#hostRoute?.open();
  }
}

function runsCodeOfArchive(plan: HandlerPlan): boolean {
  return plan.runs === 'python' || (plan.runs === 'worker' && plan.handler.kind === 'module');
}
