import type { ModelArchive } from '#libs/archive';
import {
  MarlineError,
  VERSION,
  toMarlineError,
  type BatchItem,
  type Clock,
  type ModelRef,
  type WorkerInput,
} from '#libs/common';
import type { HandlerPlan, HandlerSetup } from '#libs/handler';
import { ThreadWorker, WorkerPool, type WorkerState } from '#libs/pool';
import type { Device, DevicePlacer } from './devices.js';
import { HostHandler } from './host-handler.js';
import type { InferenceOptions } from './inference.options.js';
import { modelFile } from './model-file.js';
import { withWorkers, type ModelSettings } from './model-settings.js';
import { PendingAnswer, type AnswerBounds } from './pending-answer.js';
import { toWorkerInput, type PredictionAnswer, type PredictionRequest } from './prediction.js';
import { RunQueue } from './run-queue.js';
import { prepareModel, type PreparedModel } from './shared-weights.js';
import type { SessionPlan, WorkerModel, WorkerReady } from './worker-model.js';

/** One worker of a model version, for describe. */
export interface WorkerInfo {
  readonly id: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly state: WorkerState | 'failed' | 'retrying';
  readonly pid: number;
  readonly gpuId: number | null;
  /** Why it is not ready. */
  readonly error?: MarlineError;
}

/** How a model version stands; `stopped` has no workers because nobody asked for any. */
export interface ModelStatus {
  readonly status: 'ready' | 'starting' | 'unavailable' | 'failed' | 'stopped';
  readonly readyWorkers: number;
  readonly error?: MarlineError;
}

/** What all runtimes of a process share. */
export interface RuntimeHost {
  readonly options: InferenceOptions;
  readonly placer: DevicePlacer;
  readonly clock: Clock;
  /** Ids of workers as TorchServe's port numbers: from 9000, none used twice. */
  readonly nextWorkerId: () => number;
}

/** What makes one runtime. */
export interface RuntimeModel {
  readonly name: string;
  readonly version: string;
  readonly archive: ModelArchive;
  readonly settings: ModelSettings;
  readonly plan: HandlerPlan;
  readonly loadedAtStartup: boolean;
}

interface Prepared {
  readonly weights: PreparedModel | undefined;
  readonly metadata: WorkerReady;
  readonly host: HostHandler | undefined;
}

const NO_MODEL: WorkerReady = { inputs: [], outputs: [] };

/** One loaded version of a model: its handler, its queue and its pool of workers. */
export class ModelRuntime {
  readonly name: string;
  readonly version: string;
  readonly archive: ModelArchive;
  readonly loadedAtStartup: boolean;
  #settings: ModelSettings;
  readonly #plan: HandlerPlan;
  readonly #ref: ModelRef;
  readonly #pool: WorkerPool<WorkerModel, WorkerReady>;
  readonly #queue: RunQueue;
  readonly #devices = new Map<WorkerModel, Device>();
  #preparing: Promise<Prepared> | undefined;
  #prepared: Prepared | undefined;
  #failure: MarlineError | undefined;
  #scaling = 0;
  #closing: Promise<void> | undefined;
  #active = 0;
  #whenQuiet: (() => void)[] = [];

  constructor(
    model: RuntimeModel,
    private readonly host: RuntimeHost,
  ) {
    const { options, clock, nextWorkerId } = host;
    this.name = model.name;
    this.version = model.version;
    this.archive = model.archive;
    this.loadedAtStartup = model.loadedAtStartup;
    this.#settings = model.settings;
    this.#plan = model.plan;
    this.#ref = { model: model.name, version: model.version };
    const ref = this.#ref;

    this.#pool = new WorkerPool<WorkerModel, WorkerReady>({
      create: (id, events) =>
        new ThreadWorker({
          id,
          entry: new URL('./onnx.worker.js', import.meta.url),
          events,
          startTimeoutMs: model.settings.startupTimeout * 1000,
          name: `W-${id}-${model.name}_${model.version}`,
          clock,
        }),
      nextId: nextWorkerId,
      modelFor: () => this.#workerModel(),
      runTimeoutMs: Math.max(0, model.settings.responseTimeout * 1000),
      retryWindowMs: model.settings.maxRetryTimeoutInSec * 1000,
      clock,
      observer: ({ workerId, state, error }) => {
        options.observer.workerChanged(ref, workerId, state, error);
        if (state === 'failed' && !this.#canServe())
          this.#queue.abandon(new MarlineError('NO_WORKER', { model: this.name }));
      },
      onIdle: () => this.#queue.wake(),
      metric: (_workerId, metric) => options.observer.handlerMetric(ref, metric),
      log: (workerId, level, text) => options.observer.workerLogged(ref, workerId, level, text),
    });
    this.#queue = new RunQueue(this.#pool, {
      ref,
      clock,
      observer: options.observer,
      batchSize: () => this.#batchSize(),
      maxBatchDelayMs: model.settings.waitsForBatch ? Math.max(0, model.settings.maxBatchDelay) : 0,
      queueSize: model.settings.jobQueueSize,
    });
  }

  /** The settings in force; a scale call changes the worker counts. */
  get settings(): ModelSettings {
    return this.#settings;
  }

  /** Where the handler's hooks run; a host handler takes and gives values of the application. */
  get handlerRuns(): 'host' | 'worker' {
    return this.#plan.runs === 'host' ? 'host' : 'worker';
  }

  /**
   * Answers one request.
   * @throws MarlineError `NO_WORKER`, `QUEUE_FULL`, `DEADLINE_EXCEEDED`, `REQUEST_CANCELLED`, `SHUTTING_DOWN`, or what went wrong in the handler or the model
   */
  async predict(request: PredictionRequest): Promise<PredictionAnswer> {
    if (this.#closing !== undefined) throw new MarlineError('SHUTTING_DOWN');
    if (!this.#canServe()) throw new MarlineError('NO_WORKER', { model: this.name });
    if (request.signal?.aborted === true) throw new MarlineError('REQUEST_CANCELLED');
    this.#active++;
    try {
      return await this.#submit(request);
    } finally {
      this.#active--;
      if (this.#active === 0) for (const quiet of this.#whenQuiet.splice(0)) quiet();
    }
  }

  /**
   * Grows to `minWorkers` or shrinks to `maxWorkers`; a count in between stays. Running and queued requests are finished
   * first by workers that leave.
   * @throws MarlineError `WORKERS_NOT_STARTED` with the real cause
   */
  async scale(minWorkers: number, maxWorkers: number): Promise<void> {
    if (this.#closing !== undefined) throw new MarlineError('SHUTTING_DOWN');
    this.#settings = withWorkers(this.#settings, minWorkers, maxWorkers);
    const target = Math.min(Math.max(this.#pool.target, minWorkers), maxWorkers);
    this.#scaling++;
    try {
      if (target === 0) await this.#quiet();
      else await this.#prepare();
      await this.#pool.scale(target);
      this.#failure = undefined;
    } catch (cause) {
      this.#failure = toMarlineError(cause);
      throw new MarlineError('WORKERS_NOT_STARTED', { ...this.#ref }, { cause });
    } finally {
      this.#scaling--;
      if (!this.#canServe()) this.#queue.abandon(new MarlineError('NO_WORKER', { model: this.name }));
    }
  }

  workers(): WorkerInfo[] {
    return this.#pool.workers().map(({ id, startedAt, state, pid, model, error }) => {
      const device = this.#devices.get(model);
      return { id, startedAt, state, pid, gpuId: device?.kind === 'gpu' ? device.index : null, error };
    });
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
      return { status: 'stopped', readyWorkers };
    if (!this.#canServe()) return { status: 'failed', readyWorkers, error };
    return { status: error === undefined ? 'starting' : 'unavailable', readyWorkers, error };
  }

  /**
   * Answers what was accepted, then stops the workers and gives the archive back. What is still waiting after
   * `drainTimeoutMs` gets an error. May be called twice.
   */
  close(drainTimeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(drainTimeoutMs);
    return this.#closing;
  }

  async #close(drainTimeoutMs: number): Promise<void> {
    let stopWaiting = () => {};
    const overdue = new Promise<void>((resolve) => {
      stopWaiting = this.host.clock.after(drainTimeoutMs, resolve);
    });
    await Promise.race([this.#quiet(), overdue]);
    stopWaiting();
    this.#queue.abandon(new MarlineError('SHUTTING_DOWN'));
    await this.#pool.close();
    const prepared = await this.#preparing?.catch(() => undefined);
    await prepared?.weights?.release();
    await this.archive.release();
  }

  async #submit(request: PredictionRequest): Promise<PredictionAnswer> {
    const { clock } = this.host;
    const pending = new PendingAnswer(clock);
    const { deadlineMs, signal } = request;
    const bounds: AnswerBounds = {
      deadlineMs,
      signal,
      deadlineAt: deadlineMs === undefined ? undefined : clock.now() + deadlineMs,
    };
    if (this.#plan.runs === 'host') {
      const { host } = await this.#prepare();
      host?.submit({ id: request.id, input: request.input }, pending, this.#boundedByResponseTimeout(bounds));
    } else {
      const item: BatchItem = { id: request.id, input: toWorkerInput(request.input) };
      this.#queue.submit(item, pending, bounds);
    }
    return pending.promise;
  }

  // A worker that overruns is replaced; nothing can end a hook of the host, so its caller is answered instead.
  #boundedByResponseTimeout(bounds: AnswerBounds): AnswerBounds {
    const limitMs = this.#settings.responseTimeout * 1000;
    if (limitMs <= 0 || (bounds.deadlineMs !== undefined && bounds.deadlineMs <= limitMs)) return bounds;
    return { ...bounds, deadlineMs: limitMs, deadlineAt: this.host.clock.now() + limitMs };
  }

  #canServe(): boolean {
    return this.#pool.alive > 0 || (this.#scaling > 0 && this.#settings.maxWorkers > 0);
  }

  #quiet(): Promise<void> {
    if (this.#active === 0 || !this.#canServe()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenQuiet.push(resolve);
    });
  }

  /** Once per version, before its first worker: the canary load, the shared weights, the host handler's `initialize`. */
  #prepare(): Promise<Prepared> {
    this.#preparing ??= this.#load().then(
      (prepared) => (this.#prepared = prepared),
      (error: unknown) => {
        this.#preparing = undefined;
        throw error;
      },
    );
    return this.#preparing;
  }

  async #load(): Promise<Prepared> {
    if (this.#plan.runs === 'nowhere') throw this.#plan.error;
    const { options } = this.host;
    const path = await modelFile(this.archive);
    if (path === undefined && this.#plan.runs === 'host') {
      throw new MarlineError('MODEL_INVALID', {
        reason: `The archive of model ${this.name} has no .onnx file for handler "${this.#plan.name}" to run; name one as serializedFile.`,
      });
    }
    const weights =
      path === undefined
        ? undefined
        : await prepareModel(path, {
            cacheDir: options.cacheDir,
            thresholdBytes: options.shareWeightsAboveBytes,
            intraOpThreads: options.intraOpThreads,
          });
    const metadata = weights === undefined ? NO_MODEL : { inputs: weights.inputs, outputs: weights.outputs };
    try {
      return { weights, metadata, host: await this.#hostHandler(metadata) };
    } catch (error) {
      await weights?.release();
      throw error;
    }
  }

  async #hostHandler(metadata: WorkerReady): Promise<HostHandler | undefined> {
    if (this.#plan.runs !== 'host') return undefined;
    const { options, clock } = this.host;
    const handler = new HostHandler(await this.#plan.create(), {
      setup: { ...this.#setup(null), metric: (metric) => options.observer.handlerMetric(this.#ref, metric) },
      metadata,
      queue: this.#queue,
      clock,
      batchSize: () => Math.max(1, this.#settings.batchSize),
      maxBatchDelayMs: this.#settings.waitsForBatch ? Math.max(0, this.#settings.maxBatchDelay) : 0,
      limit: () => this.#settings.jobQueueSize + this.#pool.readyCount * this.#batchSize(),
      full: () => new MarlineError('QUEUE_FULL', { model: this.name }),
    });
    await handler.initialize();
    return handler;
  }

  #workerModel(): WorkerModel {
    const { placer, options } = this.host;
    const device = placer.assign(this.#settings, this.#ref);
    const weights = this.#prepared?.weights;
    const gpuId = device.kind === 'gpu' ? device.index : null;
    const session: SessionPlan | null =
      weights === undefined
        ? null
        : {
            path: weights.path,
            shared: weights.shared,
            executionProvider: device.executionProvider,
            deviceId: gpuId,
            intraOpThreads: options.intraOpThreads,
          };
    const handler = this.#plan.runs === 'worker' ? this.#plan.handler : ({ kind: 'none' } as const);
    const model: WorkerModel = { setup: this.#setup(gpuId), handler, session };
    this.#devices.set(model, device);
    return model;
  }

  #setup(gpuId: number | null): Omit<HandlerSetup, 'metric'> {
    return {
      modelName: this.name,
      modelVersion: this.version,
      manifest: this.archive.manifest,
      modelConfig: this.archive.config.raw,
      maxPixels: this.host.options.maxImagePixels,
      systemProperties: {
        modelDir: this.archive.dir,
        gpuId,
        batchSize: this.#batchSize(),
        serverName: 'Marline',
        serverVersion: VERSION,
        limitMaxImagePixels: true,
      },
    };
  }

  // A model with a fixed batch axis takes no more than that at once, whatever was asked for.
  #batchSize(): number {
    const fixed = this.#prepared?.metadata.inputs.flatMap(({ shape }) =>
      typeof shape[0] === 'number' && shape[0] > 0 ? [shape[0]] : [],
    );
    return Math.max(1, Math.min(this.#settings.batchSize, ...(fixed ?? [])));
  }
}
