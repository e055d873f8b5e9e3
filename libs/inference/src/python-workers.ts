import { resolve } from 'node:path';
import type { PoolWorker, WorkerEvents } from '#libs/pool';
import { PythonWorker, interpreterCommand, type RankGroup } from '#libs/python';
import type { InferenceOptions } from './inference.options.js';
import type { RuntimeModel } from './model-loader.js';
import type { ModelSettings } from './model-settings.js';
import type { PythonPackages } from './python-packages.js';
import { pythonThreads } from './python-threads.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

/** What a Python worker is made for; `handler` as the manifest, or a registration, names it. */
type PythonModel = Pick<RuntimeModel, 'name' | 'archive' | 'settings'> & { readonly handler: string };

/**
 * A worker of TorchServe's Python package for one model version.
 * @param packages what was installed for the archive
 */
export function createPythonWorker(
  id: number,
  events: WorkerEvents,
  { name, archive, settings, handler }: PythonModel,
  options: InferenceOptions,
  packages: PythonPackages | undefined,
): PoolWorker<WorkerModel, WorkerReady> {
  const { config } = settings;
  const group = rankGroup(settings, `${name}_${id}`);
  const threads = pythonThreads(settings);
  return new PythonWorker<WorkerModel, WorkerReady>({
    id,
    events,
    interpreter: packages?.interpreter ?? interpreterCommand(options.python, archive.dir),
    archiveDir: archive.dir,
    modulesDir: packages?.modulesDir,
    env: options.pythonEnv,
    hiddenEnv: options.blacklistEnvVars === '' ? undefined : new RegExp(`^(?:${options.blacklistEnvVars})$`),
    metricsConfig: options.metricsConfig === '' ? undefined : resolve(options.metricsConfig),
    socket: options.pythonSocket,
    decodeInputRequest: options.decodeInputRequest,
    variables: {
      TS_REQUEST_SEQUENCE_ID: options.sequenceIdHeader,
      TS_REQUEST_SEQUENCE_START: options.sequenceStartHeader,
      TS_REQUEST_SEQUENCE_END: options.sequenceEndHeader,
    },
    continuous: settings.stateful?.continuous,
    memoryLimitMb: settings.memoryLimitMb,
    startTimeoutMs: Math.max(0, settings.startupTimeout * 1000),
    maxResponseSize: options.maxResponseSize,
    ...(config.asyncCommunication === true && {
      async: {
        capacity: settings.jobQueueSize,
        silenceLimitMs: Math.max(0, settings.responseTimeout * 1000),
      },
    }),
    ...(group && { group }),
    ...(threads !== undefined && { threads }),
    visibleDevices: ({ gpus }) => gpus && visibleDevices(gpus, process.env['CUDA_VISIBLE_DEVICES']),
    loadRequest: ({ setup: { modelName, systemProperties } }) => ({
      modelName,
      handler,
      envelope: settings.envelope,
      modelDir: systemProperties.modelDir,
      batchSize: systemProperties.batchSize,
      gpuId: systemProperties.gpuId,
      limitMaxImagePixels: systemProperties.limitMaxImagePixels,
    }),
    // Only the handler knows what it takes and gives.
    info: { inputs: [], outputs: [] },
  });
}

/** What torchrun is told; `undefined` for a worker of one process. */
function rankGroup({ parallelism, config }: ModelSettings, name: string): RankGroup | undefined {
  if (parallelism === undefined || parallelism.type === 'custom') return undefined;
  const { torchrun = {} } = config;
  return {
    name,
    ranks: parallelism.level,
    toAll: parallelism.type !== 'pp',
    nodes: torchrun.nnodes,
    rendezvousBackend: torchrun.rdzvBackend,
    rendezvousEndpoint: torchrun.rdzvEndpoint,
    masterAddress: torchrun.masterAddr,
    masterPort: torchrun.masterPort,
  };
}

/**
 * What `CUDA_VISIBLE_DEVICES` must be for a process that shall see only these GPUs.
 * @param gpus counted among those that this process sees
 * @param ours what the variable is here; its entries need not be numbers
 */
export function visibleDevices(gpus: readonly number[], ours: string | undefined): string {
  const entries = ours?.split(',').map((entry) => entry.trim());
  return gpus.map((gpu) => entries?.[gpu] ?? String(gpu)).join(',');
}
