import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { InferenceObserver } from '#libs/common';
import type { Device } from './devices.js';
import type { ScheduleRequest } from './request-bounds.js';
import type { ModelOverrides } from './version-overrides.js';

/** What the inference library needs to know; every value is filled, the façade's options give the defaults. */
export interface InferenceOptions {
  /** Folder for unpacked archives and optimised weights; may be shared by several processes. */
  readonly cacheDir: string;
  /** Start-up models: `[name=]file` each, or `all`. */
  readonly loadModels: readonly string[];
  /** Settings of single versions. */
  readonly models: ModelOverrides;
  /** Workers of a model that does not say; 0 means: none at registration, one per device (or core) at start-up. */
  readonly defaultWorkersPerModel: number;
  /** Requests that may wait per model version. */
  readonly jobQueueSize: number;
  /** Seconds. */
  readonly defaultResponseTimeout: number;
  /** Seconds. */
  readonly defaultStartupTimeout: number;
  /** Bytes of a request body. */
  readonly maxRequestSize: number;
  /** Largest image, in pixels, that a handler decodes. */
  readonly maxImagePixels: number;
  /** Models with more bytes than this share their weights among workers. */
  readonly shareWeightsAboveBytes: number;
  /** Megabytes that the workers of all models may take, by estimate; 0: no limit. */
  readonly memoryBudgetMb: number;
  /** Threads of one run inside ONNX Runtime. */
  readonly intraOpThreads: number;
  /** The Python of archives with Python handlers: a path or a name; empty for the archive's own, else `python3`. */
  readonly python: string;
  /** Environment variables that Python workers see beside those that Python itself needs. */
  readonly pythonEnv: readonly string[];
  /** Variables that they never see: a regular expression that the whole name matches; empty for none. */
  readonly blacklistEnvVars: string;
  /** True: the `requirements.txt` of a Python archive is installed, which runs code of strangers. */
  readonly installPyDepPerModel: boolean;
  /** The yaml file of metrics that Python handlers find in their context; empty for that of the `torchserve` package. */
  readonly metricsConfig: string;
  /** False lets Python handlers open images of any size. */
  readonly limitMaxImagePixels: boolean;
  /** How Python workers are spoken to. */
  readonly pythonSocket: 'unix' | 'tcp';
  /** Bytes of one answer of a Python worker. */
  readonly maxResponseSize: number;
  /** False leaves JSON and texts to handlers as bytes. */
  readonly decodeInputRequest: boolean;
  /** TorchServe's service envelope around handlers; empty for none. */
  readonly serviceEnvelope: string;
  /** The header with the id of a request's sequence, in exactly this letter case. */
  readonly sequenceIdHeader: string;
  /** The header that a handler sees on the first request of a sequence whose id was made here. */
  readonly sequenceStartHeader: string;
  /** The header of a request that is the last one, and of an answer that names the sequences that are over. */
  readonly sequenceEndHeader: string;
  /** Devices to place workers on; found by looking when absent. */
  readonly devices?: readonly Device[];
  /** Milliseconds for accepted requests to finish at shutdown and unregistration. */
  readonly drainTimeoutMs: number;
  readonly observer: InferenceObserver;
  /** Who goes first, and for whom; asked for each request over HTTP. */
  readonly schedule?: ScheduleRequest;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN: INFERENCE_OPTIONS } =
  new ConfigurableModuleBuilder<InferenceOptions>().setClassMethodName('register').build();
