import { readFileSync } from 'node:fs';
import { deviceName, type ModelRuntime, type TrafficWeights, type WorkerInfo } from '#libs/inference';

/** One version as `GET /models/{model}` shows it; fields and their order are TorchServe's. */
export type ModelDescription = Readonly<Record<string, unknown>>;

/**
 * @param loadedAtStartup whether some version of the model was
 * @param traffic how the requests of the model are split, where they are
 */
export function describeModel(
  runtime: ModelRuntime,
  loadedAtStartup: boolean,
  traffic: TrafficWeights | undefined,
): ModelDescription {
  const { settings } = runtime;
  const { config } = settings;
  return {
    modelName: runtime.name,
    modelVersion: runtime.version,
    modelUrl: runtime.archive.url,
    runtime: settings.runtime,
    minWorkers: settings.minWorkers,
    maxWorkers: settings.maxWorkers,
    batchSize: settings.batchSize,
    maxBatchDelay: settings.maxBatchDelay,
    responseTimeout: settings.responseTimeout,
    startupTimeout: settings.startupTimeout,
    maxRetryTimeoutInSec: settings.maxRetryTimeoutInSec,
    clientTimeoutInMills: settings.clientTimeoutInMills,
    parallelType: config.parallelType ?? '',
    parallelLevel: config.parallelLevel ?? 0,
    deviceType: settings.deviceType,
    deviceIds: settings.deviceIds,
    continuousBatching: config.continuousBatching ?? false,
    useJobTicket: config.useJobTicket ?? false,
    useVenv: config.useVenv ?? false,
    stateful: config.sequenceBatching ?? false,
    sequenceMaxIdleMSec: config.sequenceMaxIdleMSec ?? 0,
    sequenceTimeoutMSec: config.sequenceTimeoutMSec ?? 0,
    maxNumSequence: config.maxNumSequence ?? 0,
    maxSequenceJobQueueSize: config.maxSequenceJobQueueSize ?? 0,
    loadedAtStartup,
    workers: runtime.workers().map(describeWorker),
    jobQueueStatus: runtime.queue(),
    marline: ownSection(runtime, traffic),
  };
}

/** Ours: only where the archive has the section, or the requests of the model are split. */
function ownSection(
  runtime: ModelRuntime,
  traffic: TrafficWeights | undefined,
): Readonly<Record<string, unknown>> | undefined {
  const hasSection = Object.keys(runtime.settings.config.engine ?? {}).length > 0;
  if (!hasSection && traffic === undefined) return undefined;
  return { ...(hasSection && engineOf(runtime)), traffic };
}

/** How the model is run, every value filled. */
function engineOf({ settings }: ModelRuntime): Readonly<Record<string, unknown>> {
  const { placement, config } = settings;
  return {
    isolation: settings.isolation,
    intraOpThreads: settings.intraOpThreads,
    batching: config.engine.batching ?? 'fixed',
    devices: placement.devices?.map(deviceName),
    instancesPerDevice: placement.devices && (placement.instancesPerDevice ?? 1),
    cpuFallback: config.engine.cpuFallback ?? false,
    memoryLimitMb: settings.memoryLimitMb,
    scaleUpQueueMs: settings.scaleUpQueueMs,
    scaleDownIdleSec: settings.scaleDownIdleMs / 1000,
  };
}

// TorchServe knows two words: a worker that cannot answer, for whatever reason, is UNLOADING.
function describeWorker({ id, startedAt, state, pid, gpuId }: WorkerInfo): Readonly<Record<string, unknown>> {
  return {
    id: String(id),
    startTime: new Date(startedAt).toISOString(),
    status: state === 'idle' || state === 'busy' ? 'READY' : 'UNLOADING',
    memoryUsage: pid === process.pid ? 0 : residentBytes(pid),
    pid,
    gpu: gpuId !== null,
    gpuUsage: gpuId === null ? 'N/A' : 'failed to obtained gpu usage',
  };
}

/** What the operating system tells of a worker process; a thread has no memory of its own there. 0 when it cannot be told. */
function residentBytes(pid: number): number {
  try {
    const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(kilobytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}
