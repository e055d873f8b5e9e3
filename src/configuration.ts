import { existsSync, readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { MarlineError } from '#libs/common';
import { formatAddress, parseAddress, type ListenAddress } from './address.js';
import { parseProperties, type Environment } from './config-properties.js';
import { isTorchServeKey } from './torchserve-keys.js';

/** Where a value came from, the strongest first (TorchServe's precedence). */
export type Origin = 'environment' | 'command line' | 'file' | 'default';

interface Setting<T> {
  /** TorchServe's key in `config.properties`; the environment variable is `TS_` and the key in capitals. */
  readonly key: string;
  /** What the start-up output calls it. */
  readonly label: string;
  readonly default: string;
  readonly parse: (text: string, key: string) => T;
}

const SETTINGS = {
  inferenceAddress: address('inference_address', 'Inference address', 8080, 80),
  managementAddress: address('management_address', 'Management address', 8081),
  metricsAddress: address('metrics_address', 'Metrics address', 8082),
  modelStore: text('model_store', 'Model store'),
  loadModels: list('load_models', 'Initial models'),
  defaultWorkersPerModel: integer('default_workers_per_model', 'Default workers per model', 0, 0),
  jobQueueSize: integer('job_queue_size', 'Job queue size', 100, 1),
  defaultResponseTimeout: integer('default_response_timeout', 'Default response timeout (s)', 120, 1),
  defaultStartupTimeout: integer('default_startup_timeout', 'Default startup timeout (s)', 120, 1),
  maxRequestSize: integer('max_request_size', 'Maximum request size (bytes)', 6_553_500, 1),
  enableModelApi: flag('enable_model_api', 'Model API enabled', false),
  enableMetricsApi: flag('enable_metrics_api', 'Metrics API enabled', true),
  disableTokenAuthorization: flag('disable_token_authorization', 'Token authorization disabled', false),
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
  /** Keys of the file that this version gives no effect, in the order of the file. */
  readonly ignoredKeys: readonly string[];
  /** Those of them that TorchServe does not have either. */
  readonly unknownKeys: readonly string[];
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
}

/**
 * Finds, reads and checks the configuration. The environment (`TS_…`) counts only when the file says
 * `enable_envvars_config=true`, and then beats the command line, which beats the file.
 * @throws MarlineError `OPTIONS_INVALID` that names the setting, its value, where it came from and the fix
 */
export function loadConfiguration(sources: ConfigurationSources): ServerConfiguration {
  const file = findFile(sources);
  const properties = file === undefined ? new Map<string, string>() : readFile(file, sources);
  const environment =
    properties.get('enable_envvars_config')?.toLowerCase() === 'true' ? sources.environment : {};
  const resolved = Object.entries<Setting<unknown>>(SETTINGS).map(([name, setting]) => {
    const [origin, raw] = lookUp(setting, environment, sources.commandLine, properties);
    return { name, origin, value: parse(setting, origin, raw, file) };
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
    file,
    origins,
    ignoredKeys,
    unknownKeys: ignoredKeys.filter((key) => !isTorchServeKey(key)),
  };
}

/** One line per setting: its name, its value and where that came from. */
export function describeConfiguration(configuration: ServerConfiguration): string[] {
  const lines = Object.entries(SETTINGS).map(([name, { label }]) => {
    const origin = configuration.origins[name as SettingName];
    return `${label}: ${formatValue(configuration[name as SettingName])} (${origin})`;
  });
  return [`Config file: ${configuration.file ?? 'none'}`, ...lines];
}

function findFile({ environment, tsConfig, directory }: ConfigurationSources): string | undefined {
  const named = environment['TS_CONFIG_FILE'] || tsConfig;
  if (named === undefined)
    return existsSync(resolve(directory, 'config.properties')) ? 'config.properties' : undefined;
  if (!existsSync(resolve(directory, named))) {
    const source = !environment['TS_CONFIG_FILE'] ? '' : ' (from TS_CONFIG_FILE)';
    throw invalid(`--ts-config file not found: ${named}${source}`);
  }
  return named;
}

function readFile(
  file: string,
  { environment, directory }: ConfigurationSources,
): ReadonlyMap<string, string> {
  try {
    return parseProperties(readFileSync(resolve(directory, file), 'utf8'), environment);
  } catch (error) {
    throw invalid(
      `Invalid configuration in ${file}: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
}

function lookUp(
  setting: Setting<unknown>,
  environment: Environment,
  commandLine: ConfigurationSources['commandLine'],
  properties: ReadonlyMap<string, string>,
): [Origin, string] {
  const candidates: [Origin, string | undefined][] = [
    ['environment', environment[environmentName(setting.key)]],
    ['command line', commandLine[setting.key]],
    ['file', properties.get(setting.key)],
  ];
  const found = candidates.find((candidate): candidate is [Origin, string] => candidate[1] !== undefined);
  return found ?? ['default', setting.default];
}

function parse(setting: Setting<unknown>, origin: Origin, raw: string, file: string | undefined): unknown {
  try {
    return setting.parse(raw.trim(), setting.key);
  } catch (error) {
    const source = {
      environment: environmentName(setting.key),
      'command line': 'the command line',
      file,
      default: 'the default',
    };
    throw invalid(
      `Invalid configuration: ${(error as Error).message} (${setting.key}, from ${source[origin]})`,
      error,
    );
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
    const key =
      origin === 'command line'
        ? '--model-store'
        : origin === 'environment'
          ? 'TS_MODEL_STORE'
          : 'model_store';
    throw invalid(`${key} directory not found: ${modelStore}`);
  }
  return path;
}

function isUsed(key: string): boolean {
  return key === 'enable_envvars_config' || Object.values(SETTINGS).some((setting) => setting.key === key);
}

function environmentName(key: string): string {
  return `TS_${key.toUpperCase()}`;
}

function formatValue(value: SettingValues[SettingName]): string {
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ');
  return typeof value === 'object' ? formatAddress(value as ListenAddress) : String(value);
}

function address(key: string, label: string, port: number, portless = port): Setting<ListenAddress> {
  return { key, label, default: `http://127.0.0.1:${port}`, parse: (value) => parseAddress(value, portless) };
}

function text(key: string, label: string): Setting<string> {
  return { key, label, default: '', parse: (value) => value };
}

function list(key: string, label: string): Setting<readonly string[]> {
  const parse = (value: string) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  return { key, label, default: '', parse };
}

function integer(key: string, label: string, byDefault: number, least: number): Setting<number> {
  const parse = (value: string) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least) return number;
    throw invalid(`"${value}" is not a whole number from ${least} up`);
  };
  return { key, label, default: String(byDefault), parse };
}

function flag(key: string, label: string, byDefault: boolean): Setting<boolean> {
  const parse = (value: string) => {
    if (/^(true|false)$/i.test(value)) return value.toLowerCase() === 'true';
    throw invalid(`"${value}" is neither true nor false`);
  };
  return { key, label, default: String(byDefault), parse };
}

function invalid(reason: string, cause?: unknown): MarlineError {
  return new MarlineError('OPTIONS_INVALID', { reason }, { cause });
}
