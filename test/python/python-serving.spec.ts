import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { ServedModel, type Device } from '#libs/inference';
import { openRegistry, type OpenRegistry } from '../support/open-registry.js';
import { pythonVenv } from '../support/python-venv.js';
import { handlersDir } from './python-workers.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`No Python archive is served: ${missing}.`);

let open: OpenRegistry;
beforeAll(async () => {
  open = await openRegistry({ python: python ?? '', decodeInputRequest: false });
});
afterAll(() => open.close());

/** Registers an archive with a handler of `handlers/`, and waits for its workers. */
async function serve(modelName: string, config: string, handler = 'script_handler.py') {
  const configFile = join(open.store, `${modelName}.yaml`);
  writeFileSync(configFile, config);
  await open.pack({ modelName, handler: join(handlersDir, handler), configFile });
  const runtime = await open.registry.register({ url: `${modelName}.mar`, synchronous: true });
  return { runtime, model: new ServedModel(modelName, open.registry) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

const bytes = (text: string) => new TextEncoder().encode(text);

describe.skipIf(python === undefined)('a model with a Python handler', () => {
  it('is asked in process, and answers data, texts, bytes and parts', async () => {
    const { model } = await serve('values', 'minWorkers: 1\nmaxWorkers: 1');
    expect(await model.predict(bytes('hello'))).toBe('hello done');
    expect(await model.predict(bytes('echo 1'))).toBe('echo 1');
    expect(await model.predict(new Uint8Array([...bytes('echo '), 255]))).toEqual(
      Buffer.from([...bytes('echo '), 255]),
    );
    expect(await model.predict(bytes('where'))).toMatchObject({ gpu: null });
    const parts: unknown[] = [];
    for await (const part of model.stream(bytes('chunks 3'))) parts.push(part);
    // Digits are JSON too: a Python handler does not say which it meant.
    expect(parts).toEqual([0, 1, 2, 'chunks 3 done']);
    await expect(model.predict(bytes('raise why'))).rejects.toMatchObject({ status: 418, message: 'why' });
    await expect(
      model.predict({ x: { dtype: 'int32', shape: [1], data: new Int32Array(1) } }),
    ).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  it('loses only the batch of a worker that is killed under load, and replaces the worker', async () => {
    const { runtime, model } = await serve('killed', 'minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4');
    const before = runtime.workers().map(({ pid }) => pid);
    const answers = { done: 0, died: 0, other: [] as unknown[] };
    let running = true;
    const client = async () => {
      while (running) {
        await model.predict(bytes('sleep 0.02')).then(
          () => (answers.done += 1),
          (error: MarlineError) => {
            if (error.code === 'WORKER_DIED' && error.status === 507 && error.message === 'Worker died.')
              answers.died += 1;
            else answers.other.push(error);
          },
        );
      }
    };
    const clients = Array.from({ length: 12 }, client);
    await until(() => answers.done > 30);
    execFileSync('kill', ['-9', String(before[0])]);
    await until(() => answers.died > 0);
    const atDeath = answers.done;
    await until(() => answers.done > atDeath + 30);
    await until(() => runtime.status().readyWorkers === 2);
    running = false;
    await Promise.all(clients);
    expect(answers.other).toEqual([]);
    expect(answers.died).toBeLessThanOrEqual(4);
    const after = runtime.workers();
    expect(after.map(({ id }) => id)).toEqual(runtime.workers().map(({ id }) => id));
    expect(after[0]?.pid).not.toBe(before[0]);
    expect(after[1]?.pid).toBe(before[1]);
  });

  it('that never answers is answered for, and gets a new worker', async () => {
    const { runtime, model } = await serve('hangs', 'minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 1');
    const [{ pid } = { pid: 0 }] = runtime.workers();
    await expect(model.predict(bytes('hang'))).rejects.toMatchObject({
      code: 'WORKER_DIED',
      status: 500,
      message: 'Worker died.',
    });
    expect(await model.predict(bytes('next'))).toBe('next done');
    expect(runtime.workers()[0]?.pid).not.toBe(pid);
  });

  it('is put into batches as its archive says', async () => {
    const { model } = await serve(
      'batches',
      'minWorkers: 1\nmaxWorkers: 1\nbatchSize: 3\nmaxBatchDelay: 5000',
    );
    // The third one fails with the first, because one batch has one handler call.
    const asked = ['short', 'b', 'c'].map((text) => model.predict(bytes(text)));
    for (const outcome of await Promise.allSettled(asked))
      expect(outcome).toMatchObject({ reason: { code: 'BATCH_LENGTH_MISMATCH' } });
  });

  it('that takes memory without end fails its batch alone, and serves on', async () => {
    const { runtime, model } = await serve(
      'grows',
      'minWorkers: 1\nmaxWorkers: 1\nmarline: { memoryLimitMb: 1024 }',
    );
    await expect(model.predict(bytes('grow'))).rejects.toMatchObject({
      code: 'OUT_OF_RESOURCES',
      status: 507,
      message: 'Out of resources',
    });
    expect(await model.predict(bytes('next'))).toBe('next done');
    expect(runtime.status()).toMatchObject({ status: 'ready' });
  });

  it('that does not load says why, and leaves the others alone', async () => {
    await expect(serve('broken', 'minWorkers: 1\nmaxWorkers: 1', 'fails_at_import.py')).rejects.toMatchObject(
      {
        code: 'WORKERS_NOT_STARTED',
        cause: { cause: { message: expect.stringContaining('fails_at_import') as string } },
      },
    );
    await serve('sound', 'minWorkers: 1\nmaxWorkers: 1');
    expect(await new ServedModel('sound', open.registry).predict(bytes('a'))).toBe('a done');
  });

  it('is told its GPU, by turns, also where ONNX Runtime has none', async () => {
    const gpus = [0, 1].map((index): Device => ({
      kind: 'gpu',
      index,
      executionProvider: 'cuda',
      onlyPython: true,
    }));
    const cpu: Device = { kind: 'cpu', index: 0, executionProvider: 'cpu' };
    const withGpus = await openRegistry({ python, decodeInputRequest: false, devices: [cpu, ...gpus] });
    await withGpus.pack({ modelName: 'placed', handler: join(handlersDir, 'script_handler.py') });
    const request = { url: 'placed.mar', initialWorkers: 2, synchronous: true };
    const runtime = await withGpus.registry.register(request);
    const model = new ServedModel<unknown, { gpu: number }>('placed', withGpus.registry);
    const told = await Promise.all([0, 1].map(() => model.predict(bytes('where'))));
    const described = runtime.workers().map(({ gpuId }) => gpuId);
    await withGpus.pack({ modelName: 'onnx', handler: 'tensor', serializedFile: 'models/mlp.onnx' });
    const { devices } = await withGpus.registry.plan({
      url: 'onnx.mar',
      initialWorkers: 1,
      synchronous: true,
    });
    await withGpus.close();
    // TorchServe's counter is increased first.
    expect(described).toEqual([1, 0]);
    expect(told.map(({ gpu }) => gpu).toSorted((a, b) => a - b)).toEqual([0, 1]);
    expect(devices).toEqual(['cpu']);
  });

  it('may open images of any size when that is allowed', async () => {
    const free = await openRegistry({ python, decodeInputRequest: false, limitMaxImagePixels: false });
    await free.pack({ modelName: 'pixels', handler: join(handlersDir, 'script_handler.py') });
    await free.registry.register({ url: 'pixels.mar', initialWorkers: 1, synchronous: true });
    const told = await new ServedModel('pixels', free.registry).predict(bytes('where'));
    await free.close();
    expect(told).toMatchObject({ limitsPixels: false });
  });

  it('brings nothing into the folder that all its servers share', async () => {
    const { runtime } = await serve('clean', 'minWorkers: 1\nmaxWorkers: 1');
    const files = execFileSync('find', [runtime.archive.dir], { encoding: 'utf8' });
    expect(files).not.toContain('__pycache__');
  });

  it('is planned as a process, with the memory of PyTorch', async () => {
    await open.pack({ modelName: 'planned', handler: join(handlersDir, 'script_handler.py') });
    expect(
      await open.registry.plan({ url: 'planned.mar', initialWorkers: 2, synchronous: true }),
    ).toMatchObject({
      handlerRuns: 'python',
      isolation: 'process',
      memory: { perWorkerMb: 200, neededMb: 400 },
    });
  });

  it('uses the Python in the folder of its archive when none is configured', async () => {
    const own = await openRegistry();
    const folder = join(own.store, 'own');
    mkdirSync(join(folder, 'MAR-INF'), { recursive: true });
    mkdirSync(join(folder, 'venv/bin'), { recursive: true });
    writeFileSync(
      join(folder, 'MAR-INF/MANIFEST.json'),
      JSON.stringify({ model: { modelName: 'own', modelVersion: '1', handler: 'h.py' } }),
    );
    writeFileSync(join(folder, 'venv/bin/python'), '#!/bin/sh\necho the one in the archive >&2\nexit 1\n', {
      mode: 0o755,
    });
    const failure = await own.registry
      .register({ url: 'own', initialWorkers: 1, synchronous: true })
      .catch((error: unknown) => error as MarlineError);
    await own.close();
    expect(failure).toMatchObject({ cause: { code: 'RUNTIME_UNSUPPORTED' } });
    expect(((failure as MarlineError).cause as Error).message).toContain('venv/bin/python');
  });
});
