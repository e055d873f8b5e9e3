import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Device } from '#libs/inference';
import { mlpInput, openRegistry, predict, type OpenRegistry } from '../support/open-registry.js';

let open: OpenRegistry;
afterEach(() => open.close());

describe('a model version', () => {
  beforeEach(async () => {
    open = await openRegistry();
    await open.pack({ modelName: 'slow', handler: 'handlers/slow_handler.mjs' });
    await open.pack({
      modelName: 'mlp',
      handler: 'tensor',
      runtime: 'node',
      serializedFile: 'models/mlp.onnx',
    });
  });

  const register = (url: string, initialWorkers = 1) =>
    open.registry.register({ url, initialWorkers, synchronous: true });

  it('answers tensors of a real model', async () => {
    await register('mlp.mar');
    const outputs = (await predict(open.registry, 'mlp', mlpInput())) as { logits: { shape: number[] } };
    expect(outputs.logits.shape).toEqual([1, 10]);
  });

  it('loses no request while it is scaled 1 → 4 → 1 under load', async () => {
    const runtime = await register('slow.mar');
    let sending = true;
    let answered = 0;
    const client = async () => {
      for (; sending; answered++) await predict(open.registry, 'slow', 5);
    };
    const clients = Promise.all(Array.from({ length: 8 }, client));
    await runtime.scale(4, 4);
    expect(runtime.status()).toMatchObject({ status: 'ready', readyWorkers: 4 });
    await runtime.scale(1, 1);
    expect(runtime.workers()).toHaveLength(1);
    const before = answered;
    while (answered === before) await new Promise((resolve) => setTimeout(resolve, 5));
    sending = false;
    await clients;
    expect(answered).toBeGreaterThan(20);
  });

  it('with job tickets takes one request for each idle worker, and none that would wait', async () => {
    const configFile = join(open.store, 'tickets.yaml');
    await writeFile(configFile, 'minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nuseJobTicket: true\n');
    await open.pack({ modelName: 'tickets', handler: 'handlers/slow_handler.mjs', configFile });
    const runtime = await register('tickets.mar');
    const outcomes = await Promise.allSettled(
      Array.from({ length: 5 }, () => predict(open.registry, 'tickets', 50)),
    );
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
    ]);
    expect(outcomes[0]).toMatchObject({ value: { batch: 1 } });
    expect(outcomes[4]).toMatchObject({ reason: { code: 'QUEUE_FULL', status: 503 } });
    expect(runtime.queue()).toEqual({ remainingCapacity: 100, pendingRequests: 0 });
    expect(await predict(open.registry, 'tickets', 1)).toMatchObject({ ms: 1 });
  });

  it('answers every accepted request when it is unregistered under load, and is gone then', async () => {
    await register('slow.mar', 2);
    const accepted = Array.from({ length: 40 }, () => predict(open.registry, 'slow', 10));
    await open.registry.unregister('slow');
    const settled = await Promise.allSettled(accepted);
    expect(settled.map(({ status }) => status)).toEqual(Array(40).fill('fulfilled'));
    expect(() => open.registry.get('slow')).toThrowError(
      expect.objectContaining({ code: 'MODEL_NOT_FOUND' }),
    );
  });

  it('serves two versions side by side; the first is the default until another is chosen', async () => {
    await mkdir(join(open.store, 'v2'));
    await open.pack({
      modelName: 'mlp',
      version: '2.0',
      handler: 'handlers/slow_handler.mjs',
      exportPath: join(open.store, 'v2'),
    });
    await register('mlp.mar');
    await register('v2/mlp.mar');
    expect(open.registry.defaultVersion('mlp')).toBe('1.0');
    expect(await predict(open.registry, 'mlp', mlpInput())).toHaveProperty('logits');
    expect(await predict(open.registry, 'mlp', 1, { version: '2.0' })).toMatchObject({ ms: 1 });
    open.registry.setDefault('mlp', '2.0');
    expect(await predict(open.registry, 'mlp', 1)).toMatchObject({ ms: 1 });
    await expect(open.registry.unregister('mlp')).rejects.toMatchObject({ code: 'DEFAULT_VERSION_IN_USE' });
    await open.registry.unregister('mlp', '1.0');
    expect(open.registry.versions('mlp').map(({ version }) => version)).toEqual(['2.0']);
  });

  it('refuses one request more than the queue holds, and answers those it accepted', async () => {
    await open.close();
    open = await openRegistry({ jobQueueSize: 2 });
    await open.pack({ modelName: 'slow', handler: 'handlers/slow_handler.mjs' });
    await register('slow.mar');
    const running = predict(open.registry, 'slow', 100);
    const queued = [predict(open.registry, 'slow', 1), predict(open.registry, 'slow', 1)];
    await expect(predict(open.registry, 'slow', 1)).rejects.toMatchObject({
      code: 'QUEUE_FULL',
      status: 503,
    });
    await expect(Promise.all([running, ...queued])).resolves.toHaveLength(3);
  });

  it('answers at the deadline, runs the next request, and drops a cancelled one from the queue', async () => {
    await register('slow.mar');
    await expect(predict(open.registry, 'slow', 300, { deadlineMs: 20 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      status: 504,
    });
    const controller = new AbortController();
    const cancelled = predict(open.registry, 'slow', 1, { signal: controller.signal });
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });
    expect(await predict(open.registry, 'slow', 1)).toMatchObject({ ms: 1 });
  });

  it('makes batches of what waits, up to its batch size', async () => {
    await open.registry.register({ url: 'slow.mar', batchSize: 4, initialWorkers: 1, synchronous: true });
    const answers = await Promise.all([50, 1, 1, 1, 1, 1].map((ms) => predict(open.registry, 'slow', ms)));
    expect(answers.map((answer) => (answer as { batch: number }).batch)).toEqual([4, 4, 4, 4, 2, 2]);
  });

  it('can be unregistered while it starts, and leaves nothing behind', async () => {
    const runtime = await open.registry.register({ url: 'mlp.mar', initialWorkers: 2, synchronous: false });
    const waiting = predict(open.registry, 'mlp', mlpInput());
    await open.registry.unregister('mlp');
    await expect(waiting).resolves.toHaveProperty('logits');
    expect(runtime.workers()).toEqual([]);
    expect(await readdir(join(open.cacheDir, 'archives', 'entries'))).toEqual([]);
  });

  it('is unpacked once for two names, and stays until the second is gone', async () => {
    await register('mlp.mar');
    await open.registry.register({ url: 'mlp.mar', modelName: 'twin', initialWorkers: 1, synchronous: true });
    expect(open.registry.get('twin').archive.dir).toBe(open.registry.get('mlp').archive.dir);
    await open.registry.unregister('mlp');
    expect(await predict(open.registry, 'twin', mlpInput())).toHaveProperty('logits');
    await open.registry.unregister('twin');
    expect(await readdir(join(open.cacheDir, 'archives', 'entries'))).toEqual([]);
  });

  it('queues requests from the moment it starts its workers', async () => {
    const runtime = await open.registry.register({ url: 'mlp.mar', initialWorkers: 1, synchronous: false });
    expect(runtime.status()).toMatchObject({ status: 'starting', readyWorkers: 0 });
    expect(await predict(open.registry, 'mlp', mlpInput())).toHaveProperty('logits');
  });

  it('starts without workers, refuses requests, and serves after it is scaled', async () => {
    const runtime = await register('mlp.mar', 0);
    expect(runtime.status()).toMatchObject({ status: 'stopped' });
    await expect(predict(open.registry, 'mlp', mlpInput())).rejects.toMatchObject({ code: 'NO_WORKER' });
    await runtime.scale(1, 1);
    await predict(open.registry, 'mlp', mlpInput());
    await runtime.scale(0, 0);
    expect(runtime.workers()).toEqual([]);
    await expect(predict(open.registry, 'mlp', mlpInput())).rejects.toMatchObject({ code: 'NO_WORKER' });
  });
});

describe('devices', () => {
  const gpus = [0, 1, 2].map((index): Device => ({ kind: 'gpu', index, executionProvider: 'cpu' }));

  beforeEach(async () => {
    open = await openRegistry({ devices: [{ kind: 'cpu', index: 0, executionProvider: 'cpu' }, ...gpus] });
  });

  it('get workers round robin over all models, from number 1, and handlers learn their number', async () => {
    await open.pack({ modelName: 'a', handler: 'handlers/slow_handler.mjs' });
    await open.pack({ modelName: 'b', handler: 'handlers/slow_handler.mjs' });
    const a = await open.registry.register({ url: 'a.mar', initialWorkers: 4, synchronous: true });
    const b = await open.registry.register({ url: 'b.mar', initialWorkers: 1, synchronous: true });
    expect(a.workers().map(({ gpuId }) => gpuId)).toEqual([1, 2, 0, 1]);
    expect(b.workers().map(({ gpuId }) => gpuId)).toEqual([2]);
    expect(await predict(open.registry, 'b', 1)).toMatchObject({ gpuId: 2 });
  });

  it('are restricted by a model’s deviceIds', async () => {
    await open.pack({
      modelName: 'c',
      handler: 'handlers/slow_handler.mjs',
      configFile: 'models/two-devices.yaml',
    });
    const c = await open.registry.register({ url: 'c.mar', synchronous: true });
    expect(c.workers().map(({ gpuId }) => gpuId)).toEqual([2, 0, 2]);
  });
});
