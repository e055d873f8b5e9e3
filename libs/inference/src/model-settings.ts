import { MarlineError } from '#libs/common';
import type { ModelArchive, ModelConfig } from '#libs/archive';
import type { HandlerPlan } from '#libs/handler';
import type { Device } from './devices.js';
import type { InferenceOptions } from './inference.options.js';
import { parallelismOf, parallelWorkers, type Parallelism } from './parallelism.js';
import { placementOf, type Placement } from './placement.js';
import { statefulSettings, type StatefulSettings } from './stateful-settings.js';
import type { VersionOverrides } from './version-overrides.js';

/** The settings of one model version that are in force. Names and units are TorchServe's, as describe shows them. */
export interface ModelSettings {
  readonly minWorkers: number;
  readonly maxWorkers: number;
  /** Workers that there are devices for; `Infinity` where they share them. */
  readonly workerRoom: number;
  readonly batchSize: number;
  /** Milliseconds that a batch may wait to fill; see {@link ModelSettings.waitsForBatch}. */
  readonly maxBatchDelay: number;
  /** False while `maxBatchDelay` is only TorchServe's default of 100 ms: then no request waits while a worker is idle. */
  readonly waitsForBatch: boolean;
  /** Seconds. */
  readonly responseTimeout: number;
  /** Seconds. */
  readonly startupTimeout: number;
  /** Seconds in which a failing worker is restarted. */
  readonly maxRetryTimeoutInSec: number;
  readonly clientTimeoutInMills: number;
  readonly jobQueueSize: number;
  /** `python` unless the request or the manifest says otherwise: what describe shows, not what serves. */
  readonly runtime: string;
  readonly deviceType: 'cpu' | 'gpu';
  readonly deviceIds?: readonly number[];
  readonly placement: Placement;
  /** True when Python workers serve the version. */
  readonly runsPython: boolean;
  /** Present when one worker is several, of Python archives only. */
  readonly parallelism?: Parallelism;
  /** TorchServe's request envelope around its handler; empty for none. */
  readonly envelope: string;
  /** Where the workers live. */
  readonly isolation: 'thread' | 'process' | 'none';
  /** Threads of one run inside ONNX Runtime. */
  readonly intraOpThreads: number;
  /** Megabytes that one worker process may take; absent: no limit. */
  readonly memoryLimitMb?: number;
  /** Milliseconds that a request may wait before a worker is added, up to maxWorkers. */
  readonly scaleUpQueueMs: number;
  /** Milliseconds for which a worker must have been spare before one is taken away, down to minWorkers. */
  readonly scaleDownIdleMs: number;
  /** Present when workers remember requests from one batch to the next. */
  readonly stateful?: StatefulSettings;
  /** What was asked for and is not done, for the log. */
  readonly warnings: readonly string[];
  /** What else `model-config.yaml` says, for describe. */
  readonly config: ModelConfig;
}

/** What a register call asks for; what it leaves out comes from `model-config.yaml`, then from the defaults. */
export interface RegisterRequest {
  /** A file or folder of the model store. */
  readonly url: string;
  readonly modelName?: string;
  readonly handler?: string;
  readonly runtime?: string;
  readonly batchSize?: number;
  readonly maxBatchDelay?: number;
  readonly initialWorkers?: number;
  readonly responseTimeout?: number;
  readonly startupTimeout?: number;
  /** Waits until the workers are ready, and fails when they are not. */
  readonly synchronous: boolean;
  /** True for the models of the start-up list: a nameless archive is called after its file, `loadedAtStartup` is shown. */
  readonly atStartup?: boolean;
}

type LearnedFrom = Pick<ModelSettings, 'config' | 'placement' | 'runsPython'>;

type WorkerRange = Pick<ModelSettings, 'minWorkers' | 'maxWorkers'>;

/** What the settings of a model depend on beside its archive. */
export interface Machine {
  readonly devices: readonly Device[];
  readonly cores: number;
}

const DEFAULT_BATCH_DELAY_MS = 100;
/** Most items of a batch whose size is learned, for a model that names no batchSize: beyond, small models gain little more. */
const LARGEST_LEARNED_BATCH = 32;
/** Most workers of one version: a mistyped number must not start threads until the process dies. */
const MAX_WORKERS = 256;
const DEFAULT_RETRY_WINDOW_S = 300;
const DEFAULT_SCALE_UP_QUEUE_MS = 50;
const DEFAULT_SCALE_DOWN_IDLE_S = 60;

/**
 * The settings in force, by TorchServe's priorities: for batches the call wins over the file; for workers
 * and time-outs the file wins as soon as there is one, and its time-outs are 120 s when it does not say.
 * @param runs who serves the archive
 * @param overrides what the configuration says of this version
 * @throws MarlineError `BAD_REQUEST` for more workers than one version may have and for sequences without an end, `DEVICE_UNAVAILABLE`
 */
export function resolveSettings(
  request: RegisterRequest,
  archive: ModelArchive,
  options: InferenceOptions,
  machine: Machine,
  runs: HandlerPlan['runs'] = 'worker',
  overrides: VersionOverrides = {},
): ModelSettings {
  const runsPython = runs === 'python';
  const { config, manifest } = archive;
  const statelessBecause = whyStateless(runs, config);
  const { engine } = config;
  const parallelism = runsPython ? parallelismOf(config) : undefined;
  const placement = {
    ...placementOf(config, machine.devices),
    ...(parallelism && { gpusPerWorker: parallelism.level }),
  };
  const room = parallelism ? parallelWorkers(parallelism, placement, machine.devices) : Infinity;
  // Python has a process of its own, whatever is asked for.
  const isolation = runsPython ? 'process' : (engine.isolation ?? 'thread');
  const hasFile = Object.keys(config.raw).length > 0;
  const configDelay = config.maxBatchDelay === 0 ? undefined : config.maxBatchDelay;
  const batchDelay = request.maxBatchDelay ?? configDelay ?? overrides.maxBatchDelay;
  return {
    ...within(
      room,
      withinIsolation(isolation, workerRange(request, config, options, machine, placement, overrides)),
    ),
    batchSize:
      request.batchSize ??
      config.batchSize ??
      overrides.batchSize ??
      (config.engine.batching === 'adaptive' ? LARGEST_LEARNED_BATCH : 1),
    maxBatchDelay: batchDelay ?? DEFAULT_BATCH_DELAY_MS,
    waitsForBatch: batchDelay !== undefined,
    responseTimeout: hasFile
      ? (config.responseTimeout ?? 120)
      : (overrides.responseTimeout ?? request.responseTimeout ?? options.defaultResponseTimeout),
    startupTimeout: hasFile
      ? (config.startupTimeout ?? 120)
      : (overrides.startupTimeout ?? request.startupTimeout ?? options.defaultStartupTimeout),
    maxRetryTimeoutInSec: config.maxRetryTimeoutInSec ?? DEFAULT_RETRY_WINDOW_S,
    clientTimeoutInMills: config.clientTimeoutInMills ?? 0,
    jobQueueSize: config.jobQueueSize || options.jobQueueSize,
    runtime: overrides.runtimeType ?? request.runtime ?? manifest.runtime ?? 'python',
    deviceType: placement.deviceType,
    deviceIds: placement.deviceIds,
    placement,
    runsPython,
    ...(parallelism && { parallelism }),
    workerRoom: room,
    // Named tensors are an envelope themselves.
    envelope: (request.handler ?? manifest.model.handler) === 'tensor' ? '' : options.serviceEnvelope,
    isolation,
    intraOpThreads: engine.intraOpThreads ?? options.intraOpThreads,
    scaleUpQueueMs: engine.scaleUpQueueMs ?? DEFAULT_SCALE_UP_QUEUE_MS,
    scaleDownIdleMs: (engine.scaleDownIdleSec ?? DEFAULT_SCALE_DOWN_IDLE_S) * 1000,
    memoryLimitMb: isolation === 'process' ? engine.memoryLimitMb : undefined,
    stateful: statelessBecause === undefined ? statefulSettings(config) : undefined,
    warnings: [
      ...config.warnings,
      ...placement.warnings,
      ...(statelessBecause !== undefined &&
      (config.sequenceBatching === true || config.continuousBatching === true)
        ? [`sequenceBatching and continuousBatching are ignored: ${statelessBecause}.`]
        : []),
      ...(engine.memoryLimitMb !== undefined && isolation !== 'process'
        ? [`marline.memoryLimitMb is ignored: only processes can be limited; set marline.isolation: process.`]
        : []),
    ],
    config,
  };
}

/**
 * True when the size of a version's batches is learned. Not where ONNX Runtime works on GPUs only: there an item is the cheaper the more
 * come with it, and trying out a size can stop a worker for a second (see `SteadyRows`), so a batch has what waits, up to `batchSize`.
 */
export function learnsBatchSizes({ config, placement, runsPython }: LearnedFrom): boolean {
  const { devices, deviceType } = placement;
  const onGpusOnly = devices?.every(({ kind }) => kind === 'gpu') ?? deviceType === 'gpu';
  return config.engine.batching === 'adaptive' && (runsPython || !onGpusOnly);
}

/** Why workers cannot remember requests, whatever the archive says; `undefined` when they can. */
function whyStateless(runs: HandlerPlan['runs'], config: ModelConfig): string | undefined {
  // Hooks of the application remember what they like: only their tensors come to workers.
  if (runs === 'host') return 'its handler belongs to the application';
  return runs === 'python' && config.asyncCommunication === true
    ? 'with asyncCommunication batches are under way side by side'
    : undefined;
}

/** True when the call or the archive says how many workers there shall be. */
export function namesWorkers({ initialWorkers }: RegisterRequest, config: ModelConfig): boolean {
  return initialWorkers !== undefined || config.engine.instancesPerDevice !== undefined || hasRange(config);
}

function hasRange({ minWorkers = 0, maxWorkers = 0 }: Partial<WorkerRange>): boolean {
  return minWorkers > 0 && minWorkers <= maxWorkers;
}

function workerRange(
  request: RegisterRequest,
  config: ModelConfig,
  options: InferenceOptions,
  { devices, cores }: Machine,
  placement: Placement,
  overrides: VersionOverrides,
): WorkerRange {
  const { minWorkers = 0, maxWorkers = 0, engine } = config;
  if (hasRange(config)) return workersBetween(minWorkers, maxWorkers);
  if (request.atStartup === true && hasRange(overrides))
    return workersBetween(overrides.minWorkers ?? 0, overrides.maxWorkers ?? 0);
  const gpus = devices.filter(({ kind }) => kind === 'gpu').length;
  const perDevice = (engine.instancesPerDevice ?? 0) * (placement.devices?.length ?? 0);
  const atStartup = request.atStartup === true ? gpus || cores : 0;
  const byDefault = perDevice || options.defaultWorkersPerModel || atStartup;
  const workers = Math.max(0, request.initialWorkers ?? byDefault);
  return workersBetween(workers, workers);
}

/**
 * A range of workers that one version may have.
 * @throws MarlineError `BAD_REQUEST` when the range is empty or too large
 */
export function workersBetween(minWorkers: number, maxWorkers: number): WorkerRange {
  if (maxWorkers < minWorkers)
    throw new MarlineError('BAD_REQUEST', { reason: 'max_worker cannot be less than min_worker.' });
  if (maxWorkers > MAX_WORKERS)
    throw new MarlineError('BAD_REQUEST', {
      reason: `A model version can have ${MAX_WORKERS} workers, not ${maxWorkers}.`,
    });
  return { minWorkers, maxWorkers };
}

// The main thread runs one thing at a time, whatever the number of workers on it.
function withinIsolation(
  isolation: ModelSettings['isolation'],
  { minWorkers, maxWorkers }: WorkerRange,
): WorkerRange {
  return within(isolation === 'none' ? 1 : MAX_WORKERS, { minWorkers, maxWorkers });
}

function within(most: number, { minWorkers, maxWorkers }: WorkerRange): WorkerRange {
  return { minWorkers: Math.min(minWorkers, most), maxWorkers: Math.min(maxWorkers, most) };
}

/**
 * The settings after a scale call; with `isolation: none` one worker is the most, else as many as there are devices for.
 * @throws MarlineError `BAD_REQUEST` when the range is empty, or for more workers than one version may have
 */
export function withWorkers(settings: ModelSettings, minWorkers: number, maxWorkers: number): ModelSettings {
  const range = withinIsolation(settings.isolation, workersBetween(minWorkers, maxWorkers));
  return { ...settings, ...within(settings.workerRoom, range) };
}
