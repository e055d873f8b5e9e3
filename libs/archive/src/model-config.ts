import { readFile, stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { parseDocument } from 'yaml';
import { messageOf } from '#libs/common';
import { readEngineConfig, type EngineConfig } from './engine-config.js';
import type { Manifest } from './manifest.js';
import { readTorchrun, type TorchrunConfig } from './torchrun-config.js';

/**
 * What `model-config.yaml` says, sanitised as TorchServe's front end does: a value of the wrong type or
 * out of range is left out, as if the key were absent. All keys of the file, also unknown ones, are in `raw` for the handler.
 */
export interface ModelConfig {
  readonly minWorkers?: number;
  readonly maxWorkers?: number;
  readonly batchSize?: number;
  /** Milliseconds. */
  readonly maxBatchDelay?: number;
  /** Seconds. */
  readonly responseTimeout?: number;
  /** Seconds. */
  readonly startupTimeout?: number;
  readonly deviceType?: 'cpu' | 'gpu';
  readonly deviceIds?: readonly number[];
  readonly parallelType?: 'pp' | 'tp' | 'pptp' | 'custom';
  readonly parallelLevel?: number;
  /** Seconds. */
  readonly maxRetryTimeoutInSec?: number;
  readonly clientTimeoutInMills?: number;
  readonly jobQueueSize?: number;
  readonly useJobTicket?: boolean;
  readonly continuousBatching?: boolean;
  readonly sequenceBatching?: boolean;
  readonly sequenceMaxIdleMSec?: number;
  readonly sequenceTimeoutMSec?: number;
  readonly maxSequenceJobQueueSize?: number;
  readonly maxNumSequence?: number;
  readonly asyncCommunication?: boolean;
  readonly useVenv?: boolean;
  readonly torchrun?: TorchrunConfig;
  /** What stands under `marline`: how this server runs the model. TorchServe ignores it. */
  readonly engine: EngineConfig;
  /** The whole document as plain data; `{}` without a configuration file. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** Sentences about keys that were left out and why; empty when all is well. */
  readonly warnings: readonly string[];
}

type Settings = Omit<ModelConfig, 'engine' | 'raw' | 'warnings'>;
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type KeyOf<V> = { [K in keyof Settings]-?: NonNullable<Settings[K]> extends V ? K : never }[keyof Settings];

/** Integer keys: `atLeast` raises smaller values to it, `from` leaves smaller ones out. */
const INTEGERS: readonly {
  readonly key: KeyOf<number>;
  readonly atLeast?: number;
  readonly from?: number;
}[] = [
  { key: 'minWorkers', atLeast: 1 },
  { key: 'maxWorkers', from: 0 },
  { key: 'batchSize', atLeast: 1 },
  { key: 'maxBatchDelay', from: 0 },
  { key: 'responseTimeout', from: 1 },
  { key: 'startupTimeout', from: 1 },
  { key: 'parallelLevel', from: 0 },
  { key: 'maxRetryTimeoutInSec', atLeast: 0 },
  { key: 'clientTimeoutInMills', atLeast: 0 },
  { key: 'jobQueueSize', atLeast: 0 },
  { key: 'sequenceMaxIdleMSec', atLeast: 0 },
  { key: 'sequenceTimeoutMSec', atLeast: 0 },
  { key: 'maxSequenceJobQueueSize', atLeast: 1 },
  { key: 'maxNumSequence', atLeast: 1 },
];
const BOOLEANS: readonly KeyOf<boolean>[] = [
  'useJobTicket',
  'continuousBatching',
  'sequenceBatching',
  'asyncCommunication',
  'useVenv',
];
const PARALLEL_TYPES = ['pp', 'tp', 'pptp', 'custom'] as const;
const LARGEST_INTEGER = 2 ** 31 - 1;
const LARGEST_FILE_BYTES = 256 * 1024;
const NO_CONFIG: ModelConfig = { engine: {}, raw: {}, warnings: [] };

/**
 * The configuration of an unpacked archive: the file that its manifest names. A file that is missing, too large or broken
 * counts as none, with a warning: TorchServe registers such a model too.
 */
export async function readModelConfig(dir: string, manifest: Manifest): Promise<ModelConfig> {
  const name = manifest.model.configFile;
  if (name === undefined || name === '') return NO_CONFIG;
  const path = resolve(dir, name);
  const file = path.startsWith(dir + sep) ? await stat(path).catch(() => undefined) : undefined;
  if (file?.isFile() !== true) return without(name, 'is not a file of the archive');
  if (file.size > LARGEST_FILE_BYTES) return without(name, `is larger than ${LARGEST_FILE_BYTES} bytes`);
  return parseModelConfig(await readFile(path, 'utf8'), name);
}

/**
 * Parses a `model-config.yaml`: plain data only, no custom tags, a bounded number of aliases. Never throws.
 * @param name how warnings call the file
 */
export function parseModelConfig(text: string, name = 'model-config.yaml'): ModelConfig {
  let root: unknown;
  try {
    // Python and Java read the last of two equal keys and know merge keys; 1.2 without them would refuse files that work there.
    const document = parseDocument(text, {
      schema: 'core',
      merge: true,
      uniqueKeys: false,
      prettyErrors: false,
    });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) return without(name, `is not valid YAML: ${problem.message}`);
    root = plain(document.toJS({ maxAliasCount: 100 }));
  } catch (error) {
    return without(name, `is not valid YAML: ${messageOf(error)}`);
  }
  if (!isMap(root)) return without(name, 'has no keys at its top level');
  return sanitise(root);
}

function sanitise(raw: Record<string, unknown>): ModelConfig {
  const settings: Partial<Mutable<Settings>> = {};
  const warnings: string[] = [];
  const leaveOut = (key: string, why: string) => warnings.push(`${key} is ignored: ${why}.`);
  const given = (key: string) => Object.hasOwn(raw, key) && raw[key] !== undefined;

  for (const { key, atLeast, from } of INTEGERS.filter(({ key }) => given(key))) {
    const value = raw[key];
    if (!isInteger(value)) leaveOut(key, 'it must be an integer');
    else if (from !== undefined && value < from) leaveOut(key, `it must be at least ${from}`);
    else settings[key] = Math.max(value, atLeast ?? value);
  }
  for (const key of BOOLEANS.filter(given)) {
    const value = booleanOf(raw[key]);
    if (value === undefined) leaveOut(key, 'it must be true or false');
    else settings[key] = value;
  }
  if (given('deviceType')) {
    const device = String(raw['deviceType']).toLowerCase();
    if (device === 'cpu' || device === 'gpu') settings.deviceType = device;
    else leaveOut('deviceType', 'it must be cpu or gpu');
  }
  if (given('deviceIds')) {
    const ids = raw['deviceIds'];
    if (Array.isArray(ids) && ids.every((id) => isInteger(id) && id >= 0))
      settings.deviceIds = ids as number[];
    else leaveOut('deviceIds', 'it must be a list of integers, none below 0');
  }
  if (given('parallelType') && raw['parallelType'] !== '') {
    const asked = String(raw['parallelType']).toLowerCase();
    const type = PARALLEL_TYPES.find((known) => known === asked);
    if (type !== undefined) settings.parallelType = type;
    else leaveOut('parallelType', `it must be one of ${PARALLEL_TYPES.join(', ')}`);
  }
  const torchrun = raw['torchrun'];
  if (isMap(torchrun)) {
    if (isInteger(torchrun['nproc-per-node'])) settings.parallelLevel = torchrun['nproc-per-node'];
    const group = readTorchrun(torchrun, leaveOut);
    if (Object.keys(group).length > 0) settings.torchrun = group;
  }
  const engine = readEngineConfig(raw['marline'], leaveOut);
  return { ...settings, engine, raw, warnings };
}

/** Copies maps and lists without `__proto__` keys, so that no later merge of this data reaches a prototype. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== '__proto__')
      .map(([key, inner]) => [key, plain(inner)]),
  );
}

// TorchServe's parsers read YAML 1.1, where these words are booleans too.
function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'string') return undefined;
  if (/^(yes|on)$/i.test(value)) return true;
  return /^(no|off)$/i.test(value) ? false : undefined;
}

function isInteger(value: unknown): value is number {
  return Number.isInteger(value) && Math.abs(value as number) <= LARGEST_INTEGER;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function without(name: string, why: string): ModelConfig {
  return { engine: {}, raw: {}, warnings: [`${name} ${why}; the model is served without it.`] };
}
