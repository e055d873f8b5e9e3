import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceObserver, type ModelRef } from '#libs/common';
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

describe('the memory budget', () => {
  const mlp = (modelName: string, yaml = '') => pack(modelName, yaml, 'tensor', 'models/mlp.onnx');
  const refused = (text: string) => ({
    code: 'INSUFFICIENT_MEMORY',
    status: 507,
    message: expect.stringContaining(text),
  });

  it('refuses a model that does not fit, which leaves nothing behind, and takes it once there is room', async () => {
    open = await openRegistry({ memoryBudgetMb: 60 });
    await mlp('a');
    await mlp('b');
    await register('a.mar', 2);
    await expect(register('b.mar', 1)).rejects.toMatchObject(
      refused('Model "b" needs about 26 MB for 1 workers and 9 MB are left.'),
    );
    await expect(
      open.registry.register({ url: 'b.mar', initialWorkers: 1, synchronous: false }),
    ).rejects.toMatchObject(refused('"b"'));
    expect(open.registry.names()).toEqual(['a']);
    await open.registry.scale('a', undefined, 1, 1, { synchronous: true });
    await register('b.mar', 1);
    await open.registry.unregister('a');
    await open.registry.scale('b', undefined, 2, 2, { synchronous: true });
  });

  it('refuses more workers whether the caller waits or not, and changes nothing', async () => {
    open = await openRegistry({ memoryBudgetMb: 60 });
    await mlp('a');
    const runtime = await register('a.mar', 1);
    for (const synchronous of [true, false]) {
      const scaled = open.registry.scale('a', undefined, 3, 3, { synchronous });
      await expect(scaled).rejects.toMatchObject(refused('for 3 workers and 60 MB are left'));
    }
    expect(runtime.settings).toMatchObject({ minWorkers: 1, maxWorkers: 1 });
    expect(runtime.status()).toEqual({ status: 'ready', readyWorkers: 1 });
  });

  it('ends the growth under load, and the requests go on', async () => {
    open = await openRegistry({ memoryBudgetMb: 60 });
    await pack('elastic', 'minWorkers: 1\nmaxWorkers: 4\nmarline: { scaleUpQueueMs: 10 }');
    const runtime = await register('elastic.mar');
    let answered = 0;
    await underLoad('elastic', () => ready(runtime) === 2 && ++answered > 100);
    expect(runtime.status()).toEqual({ status: 'ready', readyWorkers: 2 });
  });

  it('has the memory of a model that failed to start back', async () => {
    open = await openRegistry({ memoryBudgetMb: 30 });
    await pack('broken', '', 'handlers/loading/throws.mjs');
    await mlp('a');
    await expect(register('broken.mar', 1)).rejects.toMatchObject({ code: 'WORKERS_NOT_STARTED' });
    await register('a.mar', 1);
  });
});

describe('marline.isolation: none', () => {
  it('is refused for an archive with code of its own, which leaves nothing behind', async () => {
    open = await openRegistry();
    await pack('coded', 'marline: { isolation: none }');
    await expect(register('coded.mar', 1)).rejects.toMatchObject({
      code: 'ARCHIVE_UNSAFE',
      message: expect.stringContaining('slow_handler.mjs'),
    });
    expect(open.registry.names()).toEqual([]);
  });
});

it('warms up the first workers of a version, and not those that join them', async () => {
  const notWarm: number[] = [];
  class Listener extends InferenceObserver {
    override workerLogged(_ref: ModelRef, workerId: number, _level: string, text: string): void {
      if (text.includes('not warmed up')) notWarm.push(workerId);
    }
  }
  open = await openRegistry({ observer: new Listener(), devices: [CPU] });
  // It refuses every made-up input, and each attempt to warm it up is told.
  await pack('cold', '', 'tensor', 'models/failing_reshape.onnx');
  const runtime = await register('cold.mar', 2);
  expect(notWarm).toHaveLength(2);
  await runtime.scale(4, 4);
  expect(runtime.status()).toMatchObject({ status: 'ready', readyWorkers: 4 });
  expect(notWarm).toHaveLength(2);
});

it('keeps one thread ready while a version may grow, gives it to the next worker, and ends it', async () => {
  const made: Worker[] = [];
  const note = (worker: Worker) => made.push(worker);
  const living = () => made.filter(({ threadId }) => threadId !== -1).length;
  process.on('worker', note);
  try {
    open = await openRegistry();
    await pack('elastic', 'minWorkers: 1\nmaxWorkers: 3');
    const runtime = await register('elastic.mar');
    await until(() => living() === 2);
    await runtime.scale(2, 3);
    expect(made).toHaveLength(2);
    expect(await Promise.all([20, 20].map((ms) => predict(open.registry, 'elastic', ms)))).toHaveLength(2);
    await until(() => living() === 3);
    await runtime.scale(2, 2);
    await until(() => living() === 2);
    await runtime.scale(1, 2);
    await until(() => living() === 3);
    await open.registry.unregister('elastic');
    await until(() => living() === 0);
  } finally {
    process.off('worker', note);
  }
});
