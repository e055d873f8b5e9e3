import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { ServedModel, type Device } from '#libs/inference';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { openRegistry, type OpenRegistry } from '../support/open-registry.js';
import { pythonVenv } from '../support/python-venv.js';
import { ScriptWorkers, ask, handlersDir, isAlive, type ScriptOptions } from './python-workers.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`No group of Python workers is tried: ${missing}.`);

interface Told {
  readonly RANK: string;
  readonly LOCAL_RANK: string;
  readonly WORLD_SIZE: string;
  readonly OMP_NUM_THREADS: string;
  readonly CUDA_VISIBLE_DEVICES: string | null;
  /** 1 + 2 when both ranks ran the batch. */
  readonly total: number;
  readonly gpu: number | null;
  readonly pid: number;
}

const workers = new ScriptWorkers(python ?? '');
afterEach(() => workers.end());

const started = (options: ScriptOptions = {}) =>
  workers.start(
    { group: { name: 'ranks', ranks: 2, toAll: true }, threads: 1, ...options },
    { handler: 'rank_handler.py' },
  );

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe.skipIf(python === undefined)('a Python worker of two ranks', () => {
  it.each(['unix', 'tcp'] as const)('has both run each batch, and rank 0 answers: %s', async (socket) => {
    const worker = await started({ socket });
    for (const body of ['a', 'b']) {
      const [answer = ''] = (await ask(worker, body)).answers;
      expect(JSON.parse(answer)).toMatchObject({
        RANK: '0',
        LOCAL_RANK: '0',
        WORLD_SIZE: '2',
        OMP_NUM_THREADS: '1',
        total: 3,
      });
    }
    const { pid } = JSON.parse((await ask(worker, 'c')).answers[0] ?? '') as Told;
    await worker.stop();
    await until(() => !isAlive(pid) && !isAlive(worker.pid));
  });

  it('fails its batch when one of them dies, and ends as a whole', async () => {
    const worker = await started();
    const { pid } = JSON.parse((await ask(worker, 'a')).answers[0] ?? '') as Told;
    const { sink, items } = await ask(worker, 'kill rank 1');
    expect(sink.errors.get(items[0]?.id ?? '')).toMatchObject({ code: 'WORKER_DIED' });
    await until(() => worker.state === 'stopped');
    await until(() => !isAlive(pid));
  });

  it('leaves no rank when it is quarantined while they hang', async () => {
    const worker = await started();
    const { pid } = JSON.parse((await ask(worker, 'a')).answers[0] ?? '') as Told;
    void worker.run([textItem('hang')], new CollectingSink());
    await sleep(100);
    await worker.quarantine(new MarlineError('WORKER_DIED'));
    await until(() => !isAlive(pid) && !isAlive(worker.pid));
  });

  it('does not start when one of them does not load, and says why', async () => {
    const worker = workers.make({ group: { name: 'broken', ranks: 2, toAll: true } });
    const outcome = await worker.start({ handler: 'fails_at_init.py' });
    expect(outcome).toMatchObject({ kind: 'transient' });
    await until(() => !isAlive(worker.pid));
  });
});

describe.skipIf(python === undefined)('a model with parallelType', () => {
  let open: OpenRegistry;
  beforeAll(async () => {
    const gpus = [0, 1, 2, 3, 4].map((index): Device => ({
      kind: 'gpu',
      index,
      executionProvider: 'cuda',
      onlyPython: true,
    }));
    const cpu: Device = { kind: 'cpu', index: 0, executionProvider: 'cpu' };
    open = await openRegistry({ python: python ?? '', decodeInputRequest: false, devices: [cpu, ...gpus] });
  });
  afterAll(() => open.close());

  async function serve(modelName: string, config: string) {
    const configFile = join(open.store, `${modelName}.yaml`);
    writeFileSync(configFile, config);
    await open.pack({ modelName, handler: join(handlersDir, 'rank_handler.py'), configFile });
    const runtime = await open.registry.register({ url: `${modelName}.mar`, synchronous: true });
    return { runtime, model: new ServedModel<Uint8Array, Told>(modelName, open.registry) };
  }
  const ping = new TextEncoder().encode('a');

  it('is started by torchrun, with its threads, on the CPU', async () => {
    const { model, runtime } = await serve(
      'tensors',
      'minWorkers: 1\nmaxWorkers: 1\ndeviceType: cpu\nparallelType: tp\ntorchrun: { nproc-per-node: 2, OMP_NUMBER_THREADS: 3 }',
    );
    expect(await model.predict(ping)).toMatchObject({
      total: 3,
      WORLD_SIZE: '2',
      OMP_NUM_THREADS: '3',
      CUDA_VISIBLE_DEVICES: null,
      gpu: null,
    });
    expect(runtime.workers()).toMatchObject([{ gpuId: null }]);
  });

  it('gives batches to rank 0 alone for pp', async () => {
    const { model } = await serve(
      'pipeline',
      'minWorkers: 1\nmaxWorkers: 1\ndeviceType: cpu\nparallelType: pp\nparallelLevel: 2',
    );
    expect(await model.predict(ping)).toMatchObject({ total: 1, WORLD_SIZE: '2', OMP_NUM_THREADS: '1' });
  });

  it('has GPUs of its own in each worker, and no more workers than there are GPUs for', async () => {
    const { model, runtime } = await serve(
      'blocks',
      'minWorkers: 3\nmaxWorkers: 3\nparallelType: tp\ntorchrun: { nproc-per-node: 2 }',
    );
    expect(runtime.settings).toMatchObject({ minWorkers: 2, maxWorkers: 2 });
    expect(runtime.workers()).toMatchObject([{ gpuId: 0 }, { gpuId: 2 }]);
    const told = await Promise.all([model.predict(ping), model.predict(ping)]);
    expect(new Set(told.map((one) => one.CUDA_VISIBLE_DEVICES))).toEqual(new Set(['0,1', '2,3']));
    expect(told.map(({ gpu }) => gpu)).toEqual([0, 0]);
  });

  it('is refused where there are not enough GPUs, or where its ranks could not answer', async () => {
    await expect(
      serve('large', 'minWorkers: 1\nmaxWorkers: 1\nparallelType: tp\ntorchrun: { nproc-per-node: 6 }'),
    ).rejects.toMatchObject({ code: 'DEVICE_UNAVAILABLE' });
    await expect(
      serve('both', 'minWorkers: 1\nmaxWorkers: 1\nparallelType: tp\nasyncCommunication: true'),
    ).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
  });
});
