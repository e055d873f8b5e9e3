import type { ErrorCode, MarlineError } from '#libs/common';
import type { HandlerPlan } from '#libs/handler';
import { deviceName, type Device } from './devices.js';
import { bytesOf, footprintOf, toMb, type MemoryBudget } from './memory-budget.js';
import type { ModelSettings } from './model-settings.js';
import { pythonThreads } from './python-threads.js';

/** What a registration would do, as far as it can be told without loading the model. */
export interface DeploymentPlan {
  readonly modelUrl: string;
  readonly modelName?: string;
  readonly modelVersion?: string;
  /** Where the handler runs. */
  readonly handlerRuns?: 'worker' | 'host' | 'python';
  readonly isolation?: ModelSettings['isolation'];
  /** Absent for Python workers whose threads PyTorch decides. */
  readonly intraOpThreads?: number;
  readonly minWorkers?: number;
  readonly maxWorkers?: number;
  /** Of each worker up to `maxWorkers`, in the order in which they would be made now. */
  readonly devices?: readonly string[];
  readonly batching?: {
    readonly mode: 'fixed' | 'adaptive';
    readonly batchSize: number;
    /** Milliseconds that a batch waits to fill; 0 = it never waits while a worker is idle. */
    readonly maxBatchDelay: number;
  };
  /** In megabytes, by estimate. */
  readonly memory?: {
    readonly sharedMb: number;
    readonly perWorkerMb: number;
    /** With `minWorkers` and with `maxWorkers`. */
    readonly neededMb: number;
    readonly neededAtMostMb: number;
    /** What all models may take, 0 for no limit, and what they take now. */
    readonly budgetMb: number;
    readonly usedMb: number;
  };
  /** What was asked for and would not be done. */
  readonly warnings: readonly string[];
  /** Why the registration, or the start of its workers, would be refused. */
  readonly refusal?: { readonly code: ErrorCode; readonly message: string };
}

/** What a plan is made of, once the registration has been checked. */
export interface PlannedModel {
  readonly url: string;
  readonly name: string;
  readonly version: string;
  readonly settings: ModelSettings;
  readonly plan: HandlerPlan;
  readonly modelBytes: number;
  /** One for each worker up to `maxWorkers`. */
  readonly devices: readonly Device[];
}

export function deploymentPlan(
  { url, name, version, settings, plan, modelBytes, devices }: PlannedModel,
  memory: MemoryBudget,
  shareWeightsAboveBytes: number,
): DeploymentPlan {
  const { minWorkers, maxWorkers, isolation, batchSize, maxBatchDelay, waitsForBatch } = settings;
  const intraOpThreads = settings.runsPython ? pythonThreads(settings) : settings.intraOpThreads;
  const footprint = footprintOf(modelBytes, settings, shareWeightsAboveBytes);
  const bytes = bytesOf(footprint, minWorkers);
  const refusal =
    plan.runs === 'nowhere'
      ? plan.error
      : refusalOf(() => memory.check({}, { model: name, workers: minWorkers, bytes }));
  return {
    modelUrl: url,
    modelName: name,
    modelVersion: version,
    ...(plan.runs !== 'nowhere' && { handlerRuns: plan.runs }),
    isolation,
    ...(intraOpThreads !== undefined && { intraOpThreads }),
    minWorkers,
    maxWorkers,
    devices: devices.map(deviceName),
    batching: {
      mode: settings.config.engine.batching ?? 'fixed',
      batchSize,
      maxBatchDelay: waitsForBatch ? Math.max(0, maxBatchDelay) : 0,
    },
    memory: {
      sharedMb: toMb(footprint.sharedBytes),
      perWorkerMb: toMb(footprint.workerBytes),
      neededMb: toMb(bytes),
      neededAtMostMb: toMb(bytesOf(footprint, maxWorkers)),
      budgetMb: memory.limitMb,
      usedMb: toMb(memory.usedBytes),
    },
    warnings: settings.warnings,
    ...(refusal && refused(refusal)),
  };
}

/** The part of a plan that tells a refusal. */
export function refused({ code, message }: MarlineError): Pick<DeploymentPlan, 'refusal'> {
  return { refusal: { code, message } };
}

function refusalOf(check: () => void): MarlineError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return error as MarlineError;
  }
}
