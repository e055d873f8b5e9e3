/**
 * How Marline runs a model: the keys under `marline` in its `model-config.yaml`. TorchServe ignores the section, so an
 * archive with one still works there.
 */
export interface EngineConfig {
  /** `thread` (default), `process` (can be killed and limited in memory), or `none`: on the main thread, for models far below a millisecond. */
  readonly isolation?: 'thread' | 'process' | 'none';
  /** Threads of one run inside ONNX Runtime, or PyTorch in a Python worker. */
  readonly intraOpThreads?: number;
  /** `fixed` (default): TorchServe's batchSize and maxBatchDelay. `adaptive`: the size is learned, up to batchSize. */
  readonly batching?: 'fixed' | 'adaptive';
  /** Where workers may run, in order of preference: `cpu`, `cuda` or `cuda:0`. */
  readonly devices?: readonly string[];
  /** Workers that each device gets before the next one is used. */
  readonly instancesPerDevice?: number;
  /** Lets a model go to the CPU when none of its devices is there. */
  readonly cpuFallback?: boolean;
  /** Memory that one worker process may take, in MB, at least 96, for Node.js alone takes about 50; only with `isolation: process`. */
  readonly memoryLimitMb?: number;
  /** Milliseconds that requests may wait before a worker is added, up to maxWorkers. */
  readonly scaleUpQueueMs?: number;
  /** Seconds that a worker is idle before it is removed, down to minWorkers. */
  readonly scaleDownIdleSec?: number;
}

type Reader = (value: unknown) => { readonly value: unknown } | string;

/** What each key takes; a text says what it must be. */
const READERS: Readonly<Record<keyof EngineConfig, Reader>> = {
  isolation: oneOf('thread', 'process', 'none'),
  intraOpThreads: integer(1, 1024),
  batching: oneOf('fixed', 'adaptive'),
  devices: (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((device) => typeof device === 'string' && /^(cpu|cuda(:\d{1,3})?)$/.test(device))
      ? { value }
      : 'a list of cpu, cuda and cuda:<number>',
  instancesPerDevice: integer(1, 256),
  cpuFallback: (value) => (typeof value === 'boolean' ? { value } : 'true or false'),
  memoryLimitMb: integer(96, 2 ** 24),
  scaleUpQueueMs: integer(1, 3_600_000),
  scaleDownIdleSec: integer(1, 86_400),
};

/**
 * Reads the section. A key that is unknown or holds something else is left out and told, as everywhere in this file:
 * a model must not fail to load because of a typing error that TorchServe would not even see.
 */
export function readEngineConfig(
  section: unknown,
  leaveOut: (key: string, why: string) => void,
): EngineConfig {
  if (section === undefined) return {};
  if (typeof section !== 'object' || section === null || Array.isArray(section)) {
    leaveOut('marline', 'it must be a map of keys');
    return {};
  }
  return Object.fromEntries(
    Object.entries(section).flatMap(([key, given]) => {
      if (!isKey(key)) {
        leaveOut(`marline.${key}`, `it is unknown; known are ${Object.keys(READERS).join(', ')}`);
        return [];
      }
      const read = READERS[key](given);
      if (typeof read !== 'string') return [[key, read.value]];
      leaveOut(`marline.${key}`, `it must be ${read}`);
      return [];
    }),
  );
}

function isKey(key: string): key is keyof EngineConfig {
  return Object.hasOwn(READERS, key);
}

function oneOf(...words: readonly string[]): Reader {
  return (value) => (words.includes(value as string) ? { value } : `one of ${words.join(', ')}`);
}

function integer(from: number, to: number): Reader {
  return (value) =>
    Number.isInteger(value) && (value as number) >= from && (value as number) <= to
      ? { value }
      : `a whole number from ${from} to ${to}`;
}
