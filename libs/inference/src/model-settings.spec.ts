import { describe, expect, it } from 'vitest';
import { parseModelConfig, type ModelArchive } from '#libs/archive';
import type { Device } from './devices.js';
import type { InferenceOptions } from './inference.options.js';
import { learnsBatchSizes, resolveSettings, withWorkers, type RegisterRequest } from './model-settings.js';
import type { VersionOverrides } from './version-overrides.js';

const options = {
  defaultWorkersPerModel: 0,
  jobQueueSize: 100,
  defaultResponseTimeout: 60,
  defaultStartupTimeout: 70,
  intraOpThreads: 1,
} as InferenceOptions;

const inventory = (gpus: number): Device[] => [
  { kind: 'cpu', index: 0, executionProvider: 'cpu' },
  ...Array.from({ length: gpus }, (_, index): Device => ({ kind: 'gpu', index, executionProvider: 'cpu' })),
];

function settings(
  yaml: string,
  request: Partial<RegisterRequest> = {},
  machine: { gpus?: number; cores?: number; defaultWorkersPerModel?: number } = {},
  overrides: VersionOverrides = {},
) {
  const { gpus = 0, cores = 2, defaultWorkersPerModel = 0 } = machine;
  const archive = {
    config: parseModelConfig(yaml),
    manifest: { runtime: 'python', model: {} },
  } as unknown as ModelArchive;
  return resolveSettings(
    { url: 'm.mar', synchronous: true, ...request },
    archive,
    { ...options, defaultWorkersPerModel },
    { devices: inventory(gpus), cores },
    'worker',
    overrides,
  );
}

describe('settings in force', () => {
  it('of a batch come from the call, then the file, then the defaults', () => {
    expect(settings('batchSize: 4\nmaxBatchDelay: 5', { batchSize: 8, maxBatchDelay: 0 })).toMatchObject({
      batchSize: 8,
      maxBatchDelay: 0,
      waitsForBatch: true,
    });
    expect(settings('batchSize: 4\nmaxBatchDelay: 5')).toMatchObject({
      batchSize: 4,
      maxBatchDelay: 5,
      waitsForBatch: true,
    });
    expect(settings('')).toMatchObject({ batchSize: 1, maxBatchDelay: 100, waitsForBatch: false });
    expect(settings('marline: { batching: adaptive }')).toMatchObject({ batchSize: 32 });
    expect(settings('batchSize: 4\nmarline: { batching: adaptive }')).toMatchObject({ batchSize: 4 });
  });

  it('of workers that remember requests come from the file, unless none of them could', () => {
    const config = parseModelConfig(
      'sequenceBatching: true\nsequenceMaxIdleMSec: 10\nasyncCommunication: true',
    );
    const of = (runs: 'worker' | 'host' | 'python') =>
      resolveSettings(
        { url: 'm.mar', synchronous: true },
        { config, manifest: { model: {} } } as ModelArchive,
        options,
        { devices: inventory(0), cores: 1 },
        runs,
      );
    expect(of('worker')).toMatchObject({
      stateful: { continuous: false, limits: { most: 1, queueSize: 1, maxIdleMs: 10, timeoutMs: 0 } },
      warnings: [],
    });
    expect(of('host')).toMatchObject({ warnings: [expect.stringContaining('the application')] });
    expect(of('python').warnings.at(-1)).toContain('asyncCommunication');
    expect([of('host').stateful, of('python').stateful]).toEqual([undefined, undefined]);
  });

  it('come from the configuration where the archive, and for batches the call, leave them open', () => {
    const said = { minWorkers: 1, maxWorkers: 3, batchSize: 4, maxBatchDelay: 20, responseTimeout: 7 };
    const at = (yaml: string, request: Partial<RegisterRequest> = {}) => settings(yaml, request, {}, said);
    expect(at('')).toMatchObject({
      batchSize: 4,
      maxBatchDelay: 20,
      waitsForBatch: true,
      responseTimeout: 7,
      startupTimeout: 70,
      minWorkers: 0,
    });
    expect(at('', { atStartup: true })).toMatchObject({ minWorkers: 1, maxWorkers: 3 });
    expect(at('', { batchSize: 2, maxBatchDelay: 0, responseTimeout: 5 })).toMatchObject({
      batchSize: 2,
      maxBatchDelay: 0,
      responseTimeout: 7,
    });
    expect(at('batchSize: 8\nminWorkers: 2\nmaxWorkers: 2', { atStartup: true })).toMatchObject({
      batchSize: 8,
      responseTimeout: 120,
      minWorkers: 2,
      maxWorkers: 2,
    });
    expect(settings('', { atStartup: true }, { cores: 4 }, { maxWorkers: 3 })).toMatchObject({
      minWorkers: 4,
    });
  });

  it('of time-outs come from the file as soon as there is one, else from the call', () => {
    expect(settings('responseTimeout: 9', { responseTimeout: 5, startupTimeout: 6 })).toMatchObject({
      responseTimeout: 9,
      startupTimeout: 120,
    });
    expect(settings('', { responseTimeout: 5 })).toMatchObject({ responseTimeout: 5, startupTimeout: 70 });
  });

  it('of workers come from the file when its range is one, else from the call, else from the server', () => {
    expect(settings('minWorkers: 1\nmaxWorkers: 2', { initialWorkers: 5 })).toMatchObject({
      minWorkers: 1,
      maxWorkers: 2,
    });
    expect(settings('minWorkers: 3\nmaxWorkers: 2', { initialWorkers: 5 })).toMatchObject({
      minWorkers: 5,
      maxWorkers: 5,
    });
    expect(settings('')).toMatchObject({ minWorkers: 0 });
    expect(settings('', {}, { defaultWorkersPerModel: 3 })).toMatchObject({ minWorkers: 3 });
  });

  it('at start fall back to one worker per GPU, else per core', () => {
    expect(settings('', { atStartup: true }, { cores: 6 })).toMatchObject({ minWorkers: 6 });
    expect(settings('', { atStartup: true }, { gpus: 3, cores: 6 })).toMatchObject({ minWorkers: 3 });
  });

  it('of devices ignore a list with a device that does not exist, and a GPU that is not there', () => {
    expect(settings('deviceType: gpu\ndeviceIds: [0, 1]', {}, { gpus: 2 })).toMatchObject({
      deviceType: 'gpu',
      deviceIds: [0, 1],
    });
    expect(settings('deviceIds: [0, 7]', {}, { gpus: 2 }).deviceIds).toBeUndefined();
    expect(settings('deviceType: gpu')).toMatchObject({ deviceType: 'cpu' });
    expect(settings('deviceType: cpu', {}, { gpus: 2 })).toMatchObject({ deviceType: 'cpu' });
  });
});

it('refuses an empty range of workers', () => {
  expect(() => withWorkers(settings(''), 3, 2)).toThrowError('max_worker cannot be less than min_worker.');
});

it('refuses more workers than a process can hold, from the call, the file and a scale call', () => {
  expect(() => settings('', { initialWorkers: 2 ** 31 - 1 })).toThrowError(
    'can have 256 workers, not 2147483647',
  );
  expect(() => settings('minWorkers: 300\nmaxWorkers: 300')).toThrowError('can have 256 workers, not 300');
  expect(() => withWorkers(settings(''), 1, 257)).toThrowError('can have 256 workers, not 257');
});

describe('the engine section', () => {
  it('says where workers live and how many threads a run has', () => {
    expect(settings('marline: { isolation: process, intraOpThreads: 3, memoryLimitMb: 512 }')).toMatchObject({
      isolation: 'process',
      intraOpThreads: 3,
      memoryLimitMb: 512,
      warnings: [],
    });
    expect(settings('')).toMatchObject({ isolation: 'thread', intraOpThreads: 1 });
  });

  it('cannot limit the memory of a thread, and says so', () => {
    const { memoryLimitMb, warnings } = settings('marline: { memoryLimitMb: 512 }');
    expect(memoryLimitMb).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining('isolation: process')]);
  });

  it('has one worker on the main thread, however many are asked for', () => {
    const inline = settings('marline: { isolation: none }', { initialWorkers: 4 });
    expect(inline).toMatchObject({ minWorkers: 1, maxWorkers: 1 });
    expect(withWorkers(inline, 2, 3)).toMatchObject({ minWorkers: 1, maxWorkers: 1 });
    expect(withWorkers(inline, 0, 0)).toMatchObject({ minWorkers: 0, maxWorkers: 0 });
  });

  it('gives each device its instances when nobody says how many workers', () => {
    const yaml = 'marline: { devices: [cuda, cpu], instancesPerDevice: 2 }';
    expect(settings(yaml, {}, { gpus: 2 })).toMatchObject({ minWorkers: 6, maxWorkers: 6 });
    expect(settings(yaml, { initialWorkers: 1 }, { gpus: 2 })).toMatchObject({ minWorkers: 1 });
    expect(settings('marline: { instancesPerDevice: 3 }')).toMatchObject({ minWorkers: 3 });
  });
});

describe('batch sizes', () => {
  const learns = (marline: string, gpus = 1, runsPython = false) =>
    learnsBatchSizes({ ...settings(`marline: { ${marline} }`, {}, { gpus }), runsPython });

  it('are learned where that is asked for and a CPU runs the model, or Python does', () => {
    expect(learns('batching: adaptive', 0)).toBe(true);
    expect(learns("batching: adaptive, devices: ['cuda:0', cpu]")).toBe(true);
    expect(learns('batching: adaptive', 1, true)).toBe(true);
    expect(learns('batching: fixed', 0)).toBe(false);
  });

  it('are not learned on GPUs alone', () => {
    expect(learns('batching: adaptive')).toBe(false);
    expect(learns('batching: adaptive, devices: [cuda]')).toBe(false);
    expect(learns('batching: adaptive, instancesPerDevice: 2')).toBe(false);
  });
});
