import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Device } from '#libs/inference';
import type { MarlineModuleOptions } from '#libs/serve';
import { serveApp, type FixtureArchive, type ServedApp } from '../support/serve-app.js';

let served: ServedApp;
afterEach(() => served.close());

const CPU: Device = { kind: 'cpu', index: 0, executionProvider: 'cpu' };
/** GPUs whose sessions run on the CPU: placement is the same code as with real ones. */
const gpu = (index: number): Device => ({ kind: 'gpu', index, executionProvider: 'cpu' });

async function serve(options: MarlineModuleOptions = {}): Promise<void> {
  served = await serveApp({ management: true, options: { memoryBudgetMb: 100, ...options } });
}

async function pack(yaml: string, archive: Partial<FixtureArchive> = {}): Promise<string> {
  const configFile = join(served.models.cacheDir, 'model-config.yaml');
  await writeFile(configFile, yaml);
  return served.models.pack({ fixture: 'mlp', configFile, ...archive });
}

async function ask(method: string, path: string): Promise<[number, Record<string, unknown>]> {
  const response = await fetch(served.url + path, { method });
  return [response.status, (await response.json()) as Record<string, unknown>];
}

const plan = (query: string) => ask('POST', `/models/plan?${query}`);
const unpacked = () => readdir(join(served.models.cacheDir, 'archives', 'entries')).catch(() => []);

describe('a plan', () => {
  it('says what a registration would do, and does nothing', async () => {
    await serve({ devices: [CPU, gpu(0), gpu(1)] });
    const yaml = `minWorkers: 1
maxWorkers: 3
batchSize: 8
marline: { devices: ['cuda:1', cpu, 'cuda:7'], batching: adaptive, intraOpThreads: 2, isolation: process, memoryLimitMb: 96 }`;
    const [status, answer] = await plan(`url=${await pack(yaml)}`);
    expect(status).toBe(200);
    expect(answer).toEqual({
      modelUrl: 'mlp.mar',
      modelName: 'mlp',
      modelVersion: '1.0',
      handlerRuns: 'worker',
      isolation: 'process',
      intraOpThreads: 2,
      minWorkers: 1,
      maxWorkers: 3,
      devices: ['cuda:1', 'cpu', 'cuda:1'],
      batching: { mode: 'adaptive', batchSize: 8, maxBatchDelay: 0 },
      memory: { sharedMb: 0, perWorkerMb: 71, neededMb: 71, neededAtMostMb: 212, budgetMb: 100, usedMb: 0 },
      warnings: [expect.stringContaining('cuda:7 is not there')],
    });
    expect(served.registry.names()).toEqual([]);
    expect(await unpacked()).toEqual([]);
  });

  it('is what a registration then does, and uses up no turn of a device', async () => {
    await serve({ devices: [CPU, gpu(0), gpu(1)] });
    const url = await pack('');
    const query = `url=${url}&initial_workers=3`;
    const [, { devices, memory }] = await plan(query);
    await plan(query);
    expect(await ask('POST', `/models?${query}`)).toMatchObject([200, {}]);
    const ids = served.registry
      .get('mlp')
      .workers()
      .map(({ gpuId }) => `cuda:${gpuId}`);
    expect(ids).toEqual(devices);
    const [, again] = await plan(`url=${await pack('', { name: 'other' })}`);
    expect(again['memory']).toMatchObject({ usedMb: (memory as { neededMb: number }).neededMb });
  });

  it.each<[string, string, Partial<FixtureArchive>, string, RegExp]>([
    ['memory', '', {}, 'INSUFFICIENT_MEMORY', /needs about .* MB for 5 workers and 100 MB are left/],
    [
      'a device',
      'marline: { devices: [cuda] }',
      {},
      'DEVICE_UNAVAILABLE',
      /asks for cuda, and this machine has cpu\./,
    ],
    [
      'the right isolation',
      'marline: { isolation: none }',
      { fixture: 'slow' },
      'ARCHIVE_UNSAFE',
      /may not run there/,
    ],
    ['a handler', '', { handler: 'no_such_handler' }, 'RUNTIME_UNSUPPORTED', /no_such_handler/],
    ['a right range', 'minWorkers: 300\nmaxWorkers: 300', {}, 'BAD_REQUEST', /256 workers/],
  ])('tells the refusal for want of %s', async (_, yaml, archive, code, message) => {
    await serve({ devices: [CPU] });
    const url = await pack(yaml, archive);
    const [status, { refusal }] = await plan(`url=${url}&initial_workers=5`);
    expect([status, refusal]).toEqual([200, { code, message: expect.stringMatching(message) }]);
    expect(await unpacked()).toEqual([]);
  });

  it('tells that a version is there already', async () => {
    await serve();
    const url = await pack('');
    await ask('POST', `/models?url=${url}`);
    const [, { refusal }] = await plan(`url=${url}`);
    expect(refusal).toMatchObject({ code: 'MODEL_VERSION_EXISTS' });
  });

  it.each([
    ['', 400, 'Parameter url is required.'],
    ['url=nothing.mar', 404, 'Model not found at: nothing.mar'],
    ['url=../x.mar', 404, 'Relative path is not allowed in url: ../x.mar'],
  ])('needs an archive: %j', async (query, status, message) => {
    await serve();
    expect(await plan(query)).toMatchObject([status, { message }]);
  });

  it('is refused where models may not be registered', async () => {
    await serve({ enableModelApi: false });
    expect(await plan('url=mlp.mar')).toMatchObject([405, { type: 'MethodNotAllowedException' }]);
  });

  it('does not take the name away from a model', async () => {
    await serve();
    await ask('POST', `/models?url=${await pack('', { name: 'plan' })}`);
    expect(await ask('GET', '/models/plan')).toMatchObject([200, [{ modelName: 'plan' }]]);
  });
});

describe('describe', () => {
  const describeMlp = async () =>
    (await ask('GET', '/models/mlp'))[1] as unknown as Record<string, unknown>[];

  it('shows the engine section that is in force, where the archive has one', async () => {
    await serve({ devices: [CPU] });
    const yaml = 'marline: { devices: [cuda, cpu], scaleUpQueueMs: 20 }';
    await ask('POST', `/models?url=${await pack(yaml)}`);
    expect((await describeMlp())[0]?.['marline']).toEqual({
      isolation: 'thread',
      intraOpThreads: 1,
      batching: 'fixed',
      devices: ['cpu'],
      instancesPerDevice: 1,
      cpuFallback: false,
      scaleUpQueueMs: 20,
      scaleDownIdleSec: 60,
    });
  });

  it('shows what TorchServe shows where it has none', async () => {
    await serve();
    await ask('POST', `/models?url=${await pack('minWorkers: 1')}`);
    expect((await describeMlp())[0]).not.toHaveProperty('marline');
  });
});
