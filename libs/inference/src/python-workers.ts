import type { PoolWorker, WorkerEvents } from '#libs/pool';
import { PythonWorker, interpreterCommand } from '#libs/python';
import type { InferenceOptions } from './inference.options.js';
import type { RuntimeModel } from './model-loader.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/** A worker of TorchServe's Python package for one model version. @param handler as the manifest, or a registration, names it */
export function createPythonWorker(
  id: number,
  events: WorkerEvents,
  { archive, settings }: RuntimeModel,
  handler: string,
  options: InferenceOptions,
): PoolWorker<WorkerModel, WorkerReady> {
  return new PythonWorker<WorkerModel, WorkerReady>({
    id,
    events,
    interpreter: interpreterCommand(options.python, archive.dir),
    archiveDir: archive.dir,
    env: options.pythonEnv,
    socket: options.pythonSocket,
    decodeInputRequest: options.decodeInputRequest,
    memoryLimitMb: settings.memoryLimitMb,
    startTimeoutMs: Math.max(0, settings.startupTimeout * 1000),
    maxResponseSize: options.maxResponseSize,
    ...(settings.config.asyncCommunication === true && {
      async: { capacity: settings.jobQueueSize, silenceLimitMs: Math.max(0, settings.responseTimeout * 1000) },
    }),
    loadRequest: ({ setup: { modelName, systemProperties } }) => ({
      modelName,
      handler,
      envelope: options.serviceEnvelope,
      modelDir: systemProperties.modelDir,
      batchSize: systemProperties.batchSize,
      gpuId: systemProperties.gpuId,
      limitMaxImagePixels: systemProperties.limitMaxImagePixels,
    }),
    // Only the handler knows what it takes and gives.
    info: { inputs: [], outputs: [] },
  });
}
