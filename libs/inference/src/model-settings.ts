import type { ModelConfig } from '#libs/archive';

/** The settings of one model version that are in force. Names and units are TorchServe's, as describe shows them. */
export interface ModelSettings {
  readonly minWorkers: number;
  readonly maxWorkers: number;
  readonly batchSize: number;
  /** Milliseconds that a batch may wait to fill; waited for only when it was asked for, see {@link ModelSettings.waitsForBatch}. */
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
  readonly deviceType: 'cpu' | 'gpu';
  readonly deviceIds?: readonly number[];
  /** What else `model-config.yaml` says, for describe. */
  readonly config: ModelConfig;
}

/** What a register call asks for; what it leaves out comes from `model-config.yaml`, then from the defaults (spec 01 §4.1). */
export interface RegisterRequest {
  /** A file or folder of the model store, or what a configured source resolves. */
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
