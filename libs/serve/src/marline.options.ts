import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  applyDecorators,
  type CanActivate,
  type DynamicModule,
  type ModuleMetadata,
  type Type,
} from '@nestjs/common';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsInstance,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  Min,
  MinLength,
  Validate,
  ValidatorConstraint,
  type ValidationArguments,
  type ValidatorConstraintInterface,
} from 'class-validator';
import type { Registry } from 'prom-client';
import { InferenceObserver } from '#libs/common';
import {
  defaultMemoryBudgetMb,
  type Device,
  type ModelOverrides,
  type ScheduleRequest,
} from '#libs/inference';
import type { MetricsMode } from './metrics/torchserve-metrics.js';

/** What is wrong, with the value; `fix` says what to give instead. */
function say(fix: string): { message: (argument: ValidationArguments) => string } {
  return {
    message: ({ property, value }) => `${property} is ${JSON.stringify(value) ?? typeof value}: ${fix}`,
  };
}

function WholeNumber(least: number, unit: string): PropertyDecorator {
  const text = say(`give a whole number of ${unit} from ${least} up.`);
  return applyDecorators(IsInt(text), Min(least, text));
}

function Folder(): PropertyDecorator {
  const text = say('give the path of a folder.');
  return applyDecorators(IsString(text), MinLength(1, text));
}

function ArchiveNames(): PropertyDecorator {
  const text = say("give a list of files of the model store, or ['all'].");
  return applyDecorators(IsArray(text), MinLength(1, { each: true, ...text }));
}

function Pattern(): PropertyDecorator {
  const text = say('give a regular expression, or leave it out.');
  return Validate(IsPattern, text);
}

@ValidatorConstraint()
class IsPattern implements ValidatorConstraintInterface {
  validate(value: unknown): boolean {
    try {
      return typeof value === 'string' && new RegExp(value) instanceof RegExp;
    } catch {
      return false;
    }
  }
}

function UrlPatterns(): PropertyDecorator {
  const text = say("give a list of regular expressions for URLs, such as ['https://models.example.com/.*'].");
  return applyDecorators(IsArray(text), Matches(/^[^:/]+:\/\//, { each: true, ...text }));
}

function VariableNames(): PropertyDecorator {
  const text = say('give a list of names of environment variables.');
  return applyDecorators(IsArray(text), Matches(/^[A-Za-z_]\w*$/, { each: true, ...text }));
}

function HeaderName(): PropertyDecorator {
  return Matches(/^[\w!#$%&'*+.^`|~-]{1,100}$/, say('give the name of a header.'));
}

/**
 * The values of `MarlineModule.forRoot`, each with its default. Every one may also come from the environment as
 * `MARLINE_` and its name in capitals (`jobQueueSize` → `MARLINE_JOB_QUEUE_SIZE`, lists separated by commas), except
 * `models`, `devices`, `observer`, `schedule` and `metricsRegistry`; an option wins over the environment.
 * @publicApi
 */
export class MarlineOptions {
  /** Folder of the archives: `.mar`, `.tar.gz` and plain folders. Without it nothing can be loaded. */
  @IsOptional()
  @Folder()
  modelStore?: string;

  /** Archives of the model store to load at start: `file.mar` or `name=file.mar` each, or `['all']`. None by default. */
  @ArchiveNames()
  loadModels: readonly string[] = [];

  /**
   * From where else archives may come: regular expressions for whole URLs, such as `https://models.example.com/.*`; `#sha256=…` behind one pins the
   * archive. From nowhere by default.
   */
  @UrlPatterns()
  allowedUrls: readonly string[] = [];

  /** Settings of single versions, by name and version, for what their archives leave open: TorchServe's key `models`. None by default. */
  @IsObject(say('give an object of names, of versions, of settings.'))
  models: ModelOverrides = {};

  /** Folder for unpacked archives and optimised weights; processes may share it. A private folder of the system's temporary one by default. */
  @Folder()
  cacheDir: string = join(tmpdir(), `marline-${process.getuid?.() ?? 'user'}`);

  /** Workers of a model that does not say how many; 0 (default): one per device, or per core without a GPU, at start, none when registered later. */
  @WholeNumber(0, 'workers')
  defaultWorkersPerModel = 0;

  /** Requests that may wait per model version; the next one is refused with 503. 100 by default. */
  @WholeNumber(1, 'requests')
  jobQueueSize = 100;

  /** Seconds that a run may take before its worker is replaced, for models that do not say. 120 by default. */
  @WholeNumber(1, 'seconds')
  defaultResponseTimeout = 120;

  /** Seconds that a worker may take to start, for models that do not say. 120 by default. */
  @WholeNumber(1, 'seconds')
  defaultStartupTimeout = 120;

  /** Largest body of a prediction, in bytes; 6,553,500 (TorchServe's) by default. The host's own routes keep their limit. */
  @WholeNumber(1, 'bytes')
  maxRequestSize = 6_553_500;

  /** Largest image that a handler decodes, in pixels: 100 million by default. A 60,000 × 60,000 PNG of 11 MB would need 10 GB. */
  @WholeNumber(1, 'pixels')
  maxImagePixels = 100_000_000;

  /** Threads of one run inside ONNX Runtime. 1 by default: workers are what makes use of more cores. */
  @WholeNumber(1, 'threads')
  intraOpThreads = 1;

  /** A model file above this many bytes is mapped into memory once for all its workers. 8 MiB by default. */
  @WholeNumber(0, 'bytes')
  shareWeightsAboveBytes = 8 * 1024 * 1024;

  /**
   * Megabytes that the workers of all models may take, by estimate: a model or worker beyond is refused with 507 instead of
   * having the system end the process. 0: no limit. 90 % of the memory that the process may use (container limit or machine) by default.
   */
  @WholeNumber(0, 'megabytes')
  memoryBudgetMb = defaultMemoryBudgetMb();

  /** Milliseconds that accepted requests get to finish, at shutdown and when a model is unregistered. 30,000 by default. */
  @WholeNumber(0, 'milliseconds')
  drainTimeoutMs = 30_000;

  /** Lets the management routes register and unregister models. Only matters with `management: true`, where it is on by default. */
  @IsBoolean(say('give true or false.'))
  enableModelApi = true;

  /**
   * The Python of archives with Python handlers, with torchserve and PyTorch: a path, or a name that the system looks up. The
   * virtual environment in the archive's own folder, else `python3`, by default. `marline doctor` says what it lacks.
   */
  @IsString(say('give the path of a Python, or leave it out.'))
  python = '';

  /** Names of environment variables that Python workers see beside those that Python needs: none may be a secret of the host. None by default. */
  @VariableNames()
  pythonEnv: readonly string[] = [];

  /**
   * Environment variables that Python workers never see, whatever else is said: a regular expression that the whole name
   * matches (TorchServe's `blacklist_env_vars`). None by default, for they see little.
   */
  @Pattern()
  blacklistEnvVars = '';

  /**
   * Installs the `requirements.txt` of Python archives, with pip, before their workers start. That runs code of whoever wrote
   * these packages, with the rights of this process. False by default.
   */
  @IsBoolean(say('give true or false.'))
  installPyDepPerModel = false;

  /** False lets Python handlers open images of any size; Pillow refuses what would need gigabytes by default. */
  @IsBoolean(say('give true or false.'))
  limitMaxImagePixels = true;

  /** How Python workers are spoken to: `unix`, a socket in a private folder (default), or `tcp`, a port of the loopback interface that every user of the machine can reach. */
  @IsIn(['unix', 'tcp'], say("give 'unix' or 'tcp'."))
  pythonSocket: 'unix' | 'tcp' = 'unix';

  /** Largest answer of a Python worker, in bytes; 6,553,500 (TorchServe's) by default. A larger one costs its worker. */
  @WholeNumber(1, 'bytes')
  maxResponseSize = 6_553_500;

  /** False leaves JSON and text bodies to handlers as the bytes that they came as. True by default. */
  @IsBoolean(say('give true or false.'))
  decodeInputRequest = true;

  /** TorchServe's service envelope around all handlers but `tensor`: `json`, `body`, `kserve`, `kservev2`. None by default. */
  @IsString(say('give the name of an envelope, or leave it out.'))
  serviceEnvelope = '';

  /** The header with the id of a request's sequence, in exactly this letter case; TorchServe's by default, as the next two. */
  @HeaderName()
  sequenceIdHeader = 'ts_request_sequence_id';

  /** The header that a handler sees on the first request of a sequence whose id was made here. */
  @HeaderName()
  sequenceStartHeader = 'ts_request_sequence_start';

  /** The header of the last request of a sequence, and of an answer that names sequences which are over. */
  @HeaderName()
  sequenceEndHeader = 'ts_request_sequence_end';

  /**
   * TorchServe's `metrics_mode`: `prometheus` (default) keeps the metrics for `/metrics`, `log` writes TorchServe's as lines of
   * the log, `legacy` keeps its three `ts_…` counters and writes the others.
   */
  @IsIn(['prometheus', 'log', 'legacy'], say("give 'prometheus', 'log' or 'legacy'."))
  metricsMode: MetricsMode = 'prometheus';

  /**
   * Path of TorchServe's `metrics.yaml`: which of TorchServe's metrics there are, and what Python handlers find in their context.
   * That of TorchServe by default.
   */
  @IsString(say('give the path of a file, or leave it out.'))
  metricsConfig = '';

  /** True: metrics of handlers that `metricsConfig` does not name are made from their first value. False by default. */
  @IsBoolean(say('give true or false.'))
  modelMetricsAutoDetect = false;

  /** True leaves out the metrics of CPU, memory, disk and GPUs. False by default. */
  @IsBoolean(say('give true or false.'))
  disableSystemMetrics = false;

  /** Seconds between two looks at CPU, memory, disk and GPUs. 60 by default. */
  @WholeNumber(1, 'seconds')
  metricTimeInterval = 60;

  /** The application's registry of prom-client, for Marline's metrics too. One of Marline's own by default. */
  @IsOptional()
  @IsObject(say('give a Registry of prom-client.'))
  metricsRegistry?: Registry;

  /** Devices to place workers on instead of those of the machine: for tests. */
  @IsOptional()
  @IsArray(say('give a list of devices, or leave it out.'))
  devices?: readonly Device[];

  /** Told what happens inside. Nobody by default. */
  @IsObject(say('give an object of a class that extends InferenceObserver.'))
  observer: InferenceObserver = new (class extends InferenceObserver {})();

  /** Says by a request over HTTP who goes first when requests wait, and for whom each is. All are equal by default. */
  @IsOptional()
  @IsInstance(Function, say('give a function of the request that returns { priority, tenant }.'))
  schedule?: ScheduleRequest;
}

/** What `forRoot` takes and an async factory gives: any of {@link MarlineOptions}; the rest keeps its default. @publicApi */
export type MarlineModuleOptions = Partial<MarlineOptions>;

/** For `forRootAsync({ useClass })` and `({ useExisting })`. @publicApi */
export interface MarlineOptionsFactory {
  createMarlineOptions(): MarlineModuleOptions | Promise<MarlineModuleOptions>;
}

/** A guard as `@UseGuards` takes it. @publicApi */
export type GuardReference = Type<CanActivate> | CanActivate;

/** What shapes the graph of modules, and therefore stands beside the factory in `forRootAsync`. @publicApi */
export interface MarlineModuleShape {
  /** Path in front of all routes: `ml` → `/ml/predictions/{model}`. None by default. */
  readonly mount?: string;
  /** Serves the management routes (`/models…`): whoever passes the guards can change what is served. Off by default. */
  readonly management?: boolean;
  /**
   * Serves `/metrics`. Off by default. Without it metrics are still kept where `metricsRegistry` or another `metricsMode` asks for
   * them; where nothing does, there are none and requests cost nothing more.
   */
  readonly metrics?: boolean;
  /** Guards of all routes of this module, asked in this order, made as `@UseGuards` makes them. None by default. */
  readonly guards?: readonly GuardReference[];
  /** Modules with what the guards (and, in `forRootAsync`, the factory) inject. */
  readonly imports?: (NonNullable<ModuleMetadata['imports']>[number] | DynamicModule)[];
}

/** The names of {@link MarlineModuleShape}. */
export const SHAPE_KEYS: readonly string[] = ['mount', 'management', 'metrics', 'guards', 'imports'];
