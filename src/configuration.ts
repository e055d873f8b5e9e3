import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { messageOf } from '#libs/common';
import { MarlineOptions } from '#libs/serve';
import { formatAddress, type ListenAddress } from './address.js';
import { fillIn, parseProperties, type Environment } from './config-properties.js';
import {
  address,
  flag,
  header,
  integer,
  invalid,
  json,
  list,
  oneOf,
  optionalInteger,
  port,
  positiveNumber,
  text,
  type Setting,
} from './setting.js';
import { parseSnapshot, type ModelSnapshot } from './snapshots/model-snapshot.js';
import { latestSnapshot, logFolder, snapshotFolder } from './snapshots/snapshot-folder.js';
import { reasonWithoutEffect } from './torchserve-keys.js';

/** Where a value came from, the strongest first (TorchServe's precedence). */
export type Origin = 'environment' | 'command line' | 'file' | 'default';

const ENVIRONMENT_KEY = 'enable_envvars_config';
const SNAPSHOT_KEY = 'model_snapshot';
const defaults = new MarlineOptions();

const SETTINGS = {
  inferenceAddress: address('inference_address', 'Inference address', 8080, { http: 80, https: 443 }),
  managementAddress: address('management_address', 'Management address', 8081, { http: 8081, https: 8444 }),
  metricsAddress: address('metrics_address', 'Metrics address', 8082, { http: 8082, https: 8445 }),
  grpcInferenceAddress: text('grpc_inference_address', 'gRPC inference address', '127.0.0.1'),
  grpcInferencePort: port('grpc_inference_port', 'gRPC inference port', 7070),
  grpcManagementAddress: text('grpc_management_address', 'gRPC management address', '127.0.0.1'),
  grpcManagementPort: port('grpc_management_port', 'gRPC management port', 7071),
  grpcInferenceMaxConnectionAgeMs: optionalInteger('grpc_inference_max_connection_age_ms', undefined),
  grpcInferenceMaxConnectionAgeGraceMs: optionalInteger(
    'grpc_inference_max_connection_age_grace_ms',
    undefined,
  ),
  grpcManagementMaxConnectionAgeMs: optionalInteger('grpc_management_max_connection_age_ms', undefined),
  grpcManagementMaxConnectionAgeGraceMs: optionalInteger(
    'grpc_management_max_connection_age_grace_ms',
    undefined,
  ),
  enableGrpcSsl: flag('enable_grpc_ssl', undefined, false),
  privateKeyFile: text('private_key_file'),
  certificateFile: text('certificate_file'),
  keystore: text('keystore'),
  keystorePass: text('keystore_pass', undefined, 'changeit'),
  keystoreType: text('keystore_type', undefined, 'PKCS12'),
  modelStore: text('model_store', 'Model Store'),
  loadModels: list('load_models', 'Initial Models'),
  allowedUrls: { ...list('allowed_urls', 'Allowed Urls'), permittedBy: 'use_env_allowed_urls' },
  models: json('models', 'Model settings'),
  cacheDir: text('cache_dir', 'Cache folder', defaults.cacheDir),
  defaultWorkersPerModel: integer(
    'default_workers_per_model',
    'Default workers per model',
    defaults.defaultWorkersPerModel,
    0,
  ),
  numberOfGpu: optionalInteger('number_of_gpu', 'Number of GPUs to use'),
  jobQueueSize: integer('job_queue_size', 'Job queue size', defaults.jobQueueSize),
  defaultResponseTimeout: integer(
    'default_response_timeout',
    'Default response timeout (s)',
    defaults.defaultResponseTimeout,
  ),
  defaultStartupTimeout: integer(
    'default_startup_timeout',
    'Default startup timeout (s)',
    defaults.defaultStartupTimeout,
  ),
  drainTimeoutMs: integer('drain_timeout_ms', 'Drain timeout (ms)', defaults.drainTimeoutMs, 0),
  maxRequestSize: integer('max_request_size', 'Maximum request size (bytes)', defaults.maxRequestSize),
  maxImagePixels: integer('max_image_pixels', 'Maximum image size (pixels)', defaults.maxImagePixels),
  intraOpThreads: integer('intra_op_threads', 'Threads per run', defaults.intraOpThreads),
  shareWeightsAboveBytes: integer(
    'share_weights_above_bytes',
    'Share weights above (bytes)',
    defaults.shareWeightsAboveBytes,
    0,
  ),
  memoryBudgetMb: integer('memory_budget_mb', 'Memory for models (MB)', defaults.memoryBudgetMb, 0),
  python: text('python', 'Python executable', defaults.python),
  pythonEnv: list('python_env', 'Environment of Python workers'),
  blacklistEnvVars: text('blacklist_env_vars', 'Environment hidden from Python workers'),
  installPyDepPerModel: flag(
    'install_py_dep_per_model',
    'Custom python dependency for model allowed',
    defaults.installPyDepPerModel,
  ),
  limitMaxImagePixels: flag(
    'limit_max_image_pixels',
    'Limit Maximum Image Pixels',
    defaults.limitMaxImagePixels,
  ),
  nativeSockets: flag('use_native_io', 'Unix sockets to Python workers', defaults.pythonSocket === 'unix'),
  maxResponseSize: integer('max_response_size', 'Maximum response size (bytes)', defaults.maxResponseSize),
  decodeInputRequest: flag('decode_input_request', 'Decode input request', defaults.decodeInputRequest),
  serviceEnvelope: text('service_envelope', 'Request envelope', defaults.serviceEnvelope),
  sequenceIdHeader: text('ts_header_key_sequence_id', undefined, defaults.sequenceIdHeader),
  sequenceStartHeader: text('ts_header_key_sequence_start', undefined, defaults.sequenceStartHeader),
  sequenceEndHeader: text('ts_header_key_sequence_end', undefined, defaults.sequenceEndHeader),
  corsAllowedOrigin: header('cors_allowed_origin', 'CORS allowed origin'),
  corsAllowedMethods: header('cors_allowed_methods', 'CORS allowed methods'),
  corsAllowedHeaders: header('cors_allowed_headers', 'CORS allowed headers'),
  enableModelApi: flag('enable_model_api', 'Model API enabled', false),
  enableMetricsApi: flag('enable_metrics_api', 'Enable metrics API', true),
  metricsMode: oneOf('metrics_mode', 'Metrics mode', ['prometheus', 'log', 'legacy']),
  metricsConfig: text('metrics_config', 'Metrics config', defaults.metricsConfig),
  modelMetricsAutoDetect: flag(
    'model_metrics_auto_detect',
    'Metrics of handlers are found automatically',
    defaults.modelMetricsAutoDetect,
  ),
  disableSystemMetrics: flag(
    'disable_system_metrics',
    'Disable system metrics',
    defaults.disableSystemMetrics,
  ),
  logFormat: oneOf('log_format', 'Format of the log files', ['json', 'torchserve', 'none']),
  metricTimeInterval: integer(
    'metric_time_interval',
    'Metric reporting interval (s)',
    defaults.metricTimeInterval,
  ),
  disableTokenAuthorization: flag('disable_token_authorization', 'Token authorization disabled', false),
  tokenExpirationMin: {
    ...positiveNumber('token_expiration_min', 'Token expiration (min)', 60),
    variable: 'TS_TOKEN_EXPIRATION_TIME_MIN',
  },
};

type Settings = typeof SETTINGS;
type SettingName = keyof Settings;

/** The value of every setting. Times and sizes are in the units of TorchServe's keys: seconds and bytes. */
export type SettingValues = { readonly [Name in SettingName]: ReturnType<Settings[Name]['parse']> };

/** The effective configuration of the standalone server. */
export interface ServerConfiguration extends SettingValues {
  /** The configuration file that was read, as it was named. */
  readonly file: string | undefined;
  readonly origins: Readonly<Record<SettingName, Origin>>;
  /** Where relative paths start from, and where the server leaves its own files. */
  readonly directory: string;
  /** Where log files are; `LOG_LOCATION`, or `logs`. */
  readonly logFolder: string;
  /** Where the files of metrics are; `METRICS_LOCATION`, or `logs`. */
  readonly metricsFolder: string;
  /** Where snapshots are written, and with which properties beside the models; absent without snapshots. */
  readonly snapshots?: { readonly folder: string; readonly properties: ReadonlyMap<string, string> };
  /** What is registered at the start in place of `loadModels`. */
  readonly restored?: ModelSnapshot;
  /** Keys of the file that have no effect here, in the order of the file, each with the reason. */
  readonly ignoredKeys: readonly IgnoredKey[];
}

/** A key of the file without effect. */
export interface IgnoredKey {
  readonly key: string;
  /** Why; `undefined` for a key that TorchServe does not know either. */
  readonly reason: string | undefined;
}

/** What the configuration is made of. */
export interface ConfigurationSources {
  /** Values from the command line by TorchServe's key, such as `{ model_store: 'models' }`. */
  readonly commandLine: Readonly<Record<string, string | undefined>>;
  /** `--ts-config`. */
  readonly tsConfig?: string;
  readonly environment: Environment;
  /** Where `config.properties` is looked for when no file is named, and what relative paths start from. */
  readonly directory: string;
  /** True reads the newest snapshot when no file is named, and writes snapshots; false by default. */
  readonly snapshots?: boolean;
}

/**
 * Finds, reads and checks the configuration. TorchServe's variables (`TS_…`) count only when the file says
 * `enable_envvars_config=true`, and then beat the command line, which beats the file; `MARLINE_…` beats only the defaults.
 * @throws MarlineError `OPTIONS_INVALID` that names the setting, its value, where it came from and the fix
 */
export function loadConfiguration(sources: ConfigurationSources): ServerConfiguration {
  const file = findFile(sources);
  const written = file === undefined ? new Map<string, string>() : readFile(file, sources);
  const properties = fillInAll(written, file, sources);
  const resolved = Object.entries<Setting<unknown>>(SETTINGS).map(([name, setting]) => {
    const found = lookUp(setting, sources, file, properties);
    return { name, origin: found.origin, value: parse(setting, found) };
  });
  const values = Object.fromEntries(resolved.map(({ name, value }) => [name, value])) as SettingValues;
  const origins = Object.fromEntries(resolved.map(({ name, origin }) => [name, origin])) as Record<
    SettingName,
    Origin
  >;
  const ignoredKeys = [...properties.keys()].filter((key) => !isUsed(key));
  return {
    ...values,
    modelStore: checkModelStore(values.modelStore, origins.modelStore, sources.directory),
    metricsConfig: values.metricsConfig && resolve(sources.directory, values.metricsConfig),
    file,
    origins,
    directory: sources.directory,
    logFolder: resolve(sources.directory, logFolder(sources.environment)),
    metricsFolder: resolve(sources.directory, sources.environment['METRICS_LOCATION'] || 'logs'),
    ...snapshotsOf(sources, written),
    ignoredKeys: ignoredKeys.map((key) => ({ key, reason: reasonWithoutEffect(key) })),
  };
}

/** One line per setting: its name, its value and where that came from. */
export function describeConfiguration(configuration: ServerConfiguration): string[] {
  const lines = Object.entries<Setting<unknown>>(SETTINGS).flatMap(([key, { label }]) => {
    const name = key as SettingName;
    return label === undefined
      ? []
      : [`${label}: ${formatValue(configuration[name])} (${configuration.origins[name]})`];
  });
  return [`Config file: ${configuration.file ?? 'none'}`, ...lines];
}

function snapshotsOf(
  { snapshots, environment, directory, commandLine }: ConfigurationSources,
  written: ReadonlyMap<string, string>,
): Pick<ServerConfiguration, 'snapshots' | 'restored'> {
  const saved = written.get(SNAPSHOT_KEY);
  const given = Object.entries(commandLine).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  const properties = new Map([...written, ...given]);
  properties.delete(SNAPSHOT_KEY);
  return {
    ...(saved !== undefined && { restored: parseSnapshot(saved) }),
    ...(snapshots === true && {
      snapshots: { folder: resolve(directory, snapshotFolder(environment)), properties },
    }),
  };
}

function findFile(sources: ConfigurationSources): string | undefined {
  const { environment, tsConfig, directory, snapshots } = sources;
  const named =
    environment['TS_CONFIG_FILE'] || tsConfig || (snapshots === true ? latestOf(sources) : undefined);
  if (named === undefined)
    return existsSync(resolve(directory, 'config.properties')) ? 'config.properties' : undefined;
  if (!existsSync(resolve(directory, named))) {
    const source = !environment['TS_CONFIG_FILE'] ? '' : ' (from TS_CONFIG_FILE)';
    throw invalid(`--ts-config file not found: ${named}${source}`);
  }
  return named;
}

function latestOf({ environment, directory }: ConfigurationSources): string | undefined {
  const folder = snapshotFolder(environment);
  const latest = latestSnapshot(resolve(directory, folder));
  return latest === undefined ? undefined : join(folder, latest);
}

function readFile(file: string, { directory }: ConfigurationSources): ReadonlyMap<string, string> {
  try {
    return parseProperties(readFileSync(resolve(directory, file), 'utf8'));
  } catch (error) {
    throw invalid(`Invalid configuration in ${file}: ${messageOf(error)}`, error);
  }
}

function fillInAll(
  properties: ReadonlyMap<string, string>,
  file: string | undefined,
  { environment }: ConfigurationSources,
): ReadonlyMap<string, string> {
  try {
    return fillIn(properties, environment);
  } catch (error) {
    throw invalid(`Invalid configuration in ${file}: ${messageOf(error)}`, error);
  }
}

interface Candidate {
  readonly origin: Origin;
  /** The variable, file or switch by name, for messages. */
  readonly source: string;
  readonly raw: string | undefined;
}

function lookUp(
  {
    key,
    variable = `TS_${key.toUpperCase()}`,
    permittedBy = ENVIRONMENT_KEY,
    default: raw,
  }: Setting<unknown>,
  { environment, commandLine }: ConfigurationSources,
  file: string | undefined,
  properties: ReadonlyMap<string, string>,
): Candidate {
  const capitals = key.toUpperCase();
  const allowed = properties.get(permittedBy)?.toLowerCase() === 'true';
  const candidates: readonly Candidate[] = [
    {
      origin: 'environment',
      source: variable,
      raw: allowed ? environment[variable] : undefined,
    },
    { origin: 'command line', source: 'the command line', raw: commandLine[key] },
    { origin: 'file', source: String(file), raw: properties.get(key) },
    { origin: 'environment', source: `MARLINE_${capitals}`, raw: environment[`MARLINE_${capitals}`] },
  ];
  return (
    candidates.find((candidate) => candidate.raw !== undefined) ?? { origin: 'default', source: key, raw }
  );
}

function parse(setting: Setting<unknown>, { source, raw = '' }: Candidate): unknown {
  try {
    return setting.parse(raw.trim());
  } catch (error) {
    throw invalid(`Invalid configuration: ${messageOf(error)} (${setting.key}, from ${source})`, error);
  }
}

function checkModelStore(modelStore: string, origin: Origin, directory: string): string {
  if (modelStore === '') {
    throw invalid(
      'Missing mandatory parameter --model-store. Name the folder of the archives: --model-store DIR, or model_store=DIR in config.properties.',
    );
  }
  const path = resolve(directory, modelStore);
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    const key = origin === 'command line' ? '--model-store' : 'model_store';
    throw invalid(`${key} directory not found: ${modelStore}`);
  }
  return path;
}

function isUsed(key: string): boolean {
  return (
    key === ENVIRONMENT_KEY ||
    key === SNAPSHOT_KEY ||
    Object.values<Setting<unknown>>(SETTINGS).some(
      (setting) => setting.key === key || setting.permittedBy === key,
    )
  );
}

function formatValue(value: SettingValues[SettingName]): string {
  if (value === undefined) return 'all';
  if (value === '') return 'none';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ');
  if (typeof value !== 'object') return String(value);
  const isAddress = 'port' in value || 'path' in value;
  return isAddress ? formatAddress(value as ListenAddress) : Object.keys(value).join(', ') || 'none';
}
