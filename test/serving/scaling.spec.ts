import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Device, ModelRuntime } from '#libs/inference';
import { openRegistry, predict, type OpenRegistry } from '../support/open-registry.js';

let open: OpenRegistry;
afterEach(() => open.close());

const CPU: Device = { kind: 'cpu', index: 0, executionProvider: 'cpu' };
/** GPUs whose sessions run on the CPU: placement is the same code as with real ones. */
const gpu = (index: number): Device => ({ kind: 'gpu', index, executionProvider: 'cpu' });

async function pack(
  modelName: string,
  yaml: string,
  handler = 'handlers/slow_handler.mjs',
  serializedFile?: string,
): Promise<void> {
  const configFile = join(open.cacheDir, '..', `${modelName}.yaml`);
  await writeFile(configFile, yaml);
  await open.pack({ modelName, handler, runtime: 'node', configFile, serializedFile });
}

const register = (url: string, initialWorkers?: number) =>
  open.registry.register({ url, initialWorkers, synchronous: true });

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setTimeout(5);
}

/** Eight clients that ask again and again, until the condition holds; any failure fails the test. */
async function underLoad(model: string, condition: () => boolean): Promise<void> {
  let sending = true;
  const client = async () => {
    while (sending) await predict(open.registry, model, 20);
  };
  const clients = Promise.all(Array.from({ length: 8 }, client));
  await Promise.race([clients, until(condition)]);
  sending = false;
  await clients;
}

const ready = (runtime: ModelRuntime) => runtime.status().readyWorkers;

describe('a model with fewer minWorkers than maxWorkers', () => {
  it('gets workers while requests wait, loses them when they are spare, and fails none', async () => {
    open = await openRegistry();
    const elastic = 'minWorkers: 1\nmaxWorkers: 3\nmarline: { scaleUpQueueMs: 20, scaleDownIdleSec: 1 }';
    await pack('elastic', elastic);
    const runtime = await register('elastic.mar');
    expect(runtime.workers()).toHaveLength(1);
    await underLoad('elastic', () => ready(runtime) === 3);
    await until(() => runtime.workers().length === 1);
    expect(runtime.status()).toEqual({ status: 'ready', readyWorkers: 1 });
    expect(await predict(open.registry, 'elastic', 1)).toMatchObject({ ms: 1 });
  });

  it('keeps to a range that a scale call sets, and lets it be fixed', async () => {
    open = await openRegistry();
    await pack('elastic', 'marline: { scaleUpQueueMs: 20, scaleDownIdleSec: 1 }');
    const runtime = await register('elastic.mar', 1);
    let answered = 0;
    await underLoad('elastic', () => ++answered > 100);
    expect(runtime.workers()).toHaveLength(1);
    await open.registry.scale('elastic', undefined, 1, 2, { synchronous: true });
    expect(runtime.workers()).toHaveLength(1);
    await underLoad('elastic', () => ready(runtime) === 2);
    await open.registry.scale('elastic', undefined, 1, 1, { synchronous: true });
    expect(runtime.workers()).toHaveLength(1);
  });
});

describe('marline.devices', () => {
  it('places workers in their order, and fills the gap that one left', async () => {
    open = await openRegistry({ devices: [CPU, gpu(0), gpu(1)] });
    await pack('spread', "marline: { devices: ['cuda:1', cpu], instancesPerDevice: 2 }");
    const runtime = await register('spread.mar');
    const gpuIds = () => runtime.workers().map(({ gpuId }) => gpuId);
    expect(gpuIds()).toEqual([1, 1, null, null]);
    await runtime.scale(1, 1);
    expect(gpuIds()).toEqual([1]);
    await runtime.scale(3, 3);
    expect(gpuIds()).toEqual([1, 1, null]);
    expect(await predict(open.registry, 'spread', 1)).toMatchObject({ gpuId: 1 });
  });

  it('that are not there refuse the model at registration, which leaves nothing behind', async () => {
    open = await openRegistry({ devices: [CPU, gpu(0)] });
    await pack('lost', "marline: { devices: ['cuda:4'] }");
    await expect(register('lost.mar', 1)).rejects.toMatchObject({
      code: 'DEVICE_UNAVAILABLE',
      message: expect.stringContaining('asks for cuda:4, and this machine has cpu, cuda:0.'),
    });
    expect(open.registry.names()).toEqual([]);
  });
});
