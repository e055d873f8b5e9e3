import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { MarlineError, type BatchItem } from '#libs/common';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { pythonVenv } from '../support/python-venv.js';
import { ScriptWorkers, ask, handlersDir, isAlive } from './python-workers.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`No Python worker is tried: ${missing}.`);

const workers = new ScriptWorkers(python ?? '');
const { exits, logs, metrics } = workers;

// Sockets lie in the temporary folder, and other tests have theirs.
const temporary = mkdtempSync(join(tmpdir(), 'marline-test-'));
process.env['TMPDIR'] = temporary;

afterEach(() => workers.end());
afterAll(() => rmSync(temporary, { recursive: true }));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe.skipIf(python === undefined)('a Python worker', () => {
  it('answers every item of a batch, each with its own status, reason and headers', async () => {
    const worker = await workers.start();
    const { items, sink, answers } = await ask(worker, 'status', 'b', 'c');
    expect(answers).toEqual(['status done', 'b done', 'c done']);
    expect(items.map(({ id }) => sink.results.get(id))).toMatchObject(
      [0, 1, 2].map((index) => ({
        status: 200 + index,
        reason: `phrase ${index}`,
        headers: [
          ['X-Index', String(index)],
          ['content-type', 'text/plain'],
        ],
        output: { encoding: 'text' },
      })),
    );
    expect(sink.runs).toEqual([3]);
    expect(worker.state).toBe('idle');
  });

  it.each([
    ['raise why', 'PREDICTION_EXCEPTION', 418, 'why'],
    ['chunks many', 'PREDICTION_FAILED', 503, 'Prediction failed'],
    ['short', 'BATCH_LENGTH_MISMATCH', 503, 'number of batch response mismatched'],
  ])('fails the whole batch when its handler fails: %s', async (action, code, status, message) => {
    const worker = await workers.start();
    const { items, sink } = await ask(worker, action, 'b');
    for (const { id } of items) expect(sink.errors.get(id)).toMatchObject({ code, status, message });
    expect((await ask(worker, 'next')).answers).toEqual(['next done']);
  });

  it('brings large bodies and answers to the other side whole, many in a row', async () => {
    const worker = await workers.start();
    for (const size of [0, 1000, 65_536, 6_000_000, 131_072]) {
      const body = `echo ${'x'.repeat(size)}`;
      expect((await ask(worker, body, `second ${size}`)).answers).toEqual([body, `second ${size}`]);
    }
  });

  it('passes on metrics and log lines, and not what every worker says', async () => {
    const worker = await workers.start();
    await ask(worker, 'line 1');
    await until(() => metrics.length > 0);
    expect(metrics).toMatchObject([{ name: 'PredictionTime', unit: 'Milliseconds', type: 'gauge' }]);
    expect(logs).toEqual([`log ${'x'.repeat(8192)} … and ${1_000_000 - 8192} characters more`]);
  });

  it('fails an item that no Python handler understands, alone', async () => {
    const worker = await workers.start();
    const tensors: BatchItem = {
      id: 'tensors',
      input: { kind: 'tensors', tensors: { x: { dtype: 'int32', shape: [1], data: new Int32Array(1) } } },
    };
    const text = textItem('a');
    const sink = new CollectingSink();
    await worker.run([tensors, text], sink);
    expect(sink.errors.get('tensors')).toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringContaining('takes requests, not tensors') as string,
    });
    expect(sink.answer(text.id)).toBe('a done');
    await worker.run([{ ...tensors }], new CollectingSink());
    expect(worker.state).toBe('idle');
  });

  it('sees only what it needs of the environment, and works in the folder of its archive', async () => {
    process.env['A_SECRET'] = 'hidden';
    process.env['A_TOKEN'] = 'shown';
    const worker = await workers.start({ env: ['A_TOKEN'], decodeInputRequest: false }, { gpuId: 3 });
    const [answer] = (await ask(worker, 'where')).answers;
    delete process.env['A_SECRET'];
    delete process.env['A_TOKEN'];
    const { cwd, env, gpu } = JSON.parse(answer ?? '') as {
      cwd: string;
      env: Record<string, string>;
      gpu: number;
    };
    expect([cwd, gpu]).toEqual([handlersDir, 3]);
    expect(env).toMatchObject({ A_TOKEN: 'shown', TS_DECODE_INPUT_REQUEST: 'false' });
    expect(env['PYTHONPATH']?.split(':')).toContain(handlersDir);
    expect(env).not.toHaveProperty('A_SECRET');
  });

  it('never sees a variable that is hidden, whatever else is said', async () => {
    process.env['A_TOKEN'] = 'shown';
    const worker = await workers.start({ env: ['A_TOKEN'], hiddenEnv: /^(?:.*TOKEN|HOME)$/ });
    delete process.env['A_TOKEN'];
    const { env } = JSON.parse((await ask(worker, 'where')).answers[0] ?? '') as { env: object };
    expect(env).not.toHaveProperty('A_TOKEN');
    expect(env).not.toHaveProperty('HOME');
    expect(env).toHaveProperty('PATH');
  });

  it('has the metrics of a file of its own', async () => {
    const metricsConfig = join(temporary, 'metrics.yaml');
    const metric = '{ name: Temperature, unit: Count, dimensions: [Place] }';
    writeFileSync(metricsConfig, `dimensions: []\nmodel_metrics: { counter: [${metric}] }\n`);
    const worker = await workers.start({ metricsConfig });
    expect((await ask(worker, 'measure Temperature')).answers).toEqual(['measure Temperature done']);
    await until(() => metrics.some(({ name }) => name === 'Temperature'));
    expect(metrics.find(({ name }) => name === 'Temperature')).toMatchObject({ value: 3, unit: 'Count' });
    rmSync(metricsConfig);
    const usual = await workers.start();
    expect((await ask(usual, 'measure Temperature')).answers).toEqual(['PREDICTION_FAILED']);
  });

  it('leaves no core file, in which requests would lie', async () => {
    const worker = await workers.start();
    const [hard = ''] = (await ask(worker, 'limits')).answers;
    expect(JSON.parse(hard)).toEqual(process.platform === 'linux' ? [0, 0] : expect.anything());
  });

  it('can be spoken to over TCP', async () => {
    const worker = await workers.start({ socket: 'tcp' });
    expect((await ask(worker, 'a')).answers).toEqual(['a done']);
  });

  it('is kept within its memory limit, and a handler that wants more fails alone', async () => {
    const worker = await workers.start({ memoryLimitMb: 1024 });
    const { sink, items } = await ask(worker, 'allocate 2000');
    expect(sink.errors.get(items[0]?.id ?? '')).toMatchObject({ code: 'OUT_OF_RESOURCES', status: 507 });
    expect((await ask(worker, 'allocate 10')).answers).toEqual([String(10 * 2 ** 20)]);
  });
});

describe.skipIf(python === undefined)('parts of an answer', () => {
  it('wait for their reader', async () => {
    const worker = await workers.start();
    const sink = new CollectingSink();
    const takers: (() => void)[] = [];
    sink.room = () => new Promise((resolve) => takers.push(resolve));
    const item = textItem('chunks 3');
    const finished = worker.run([item], sink);
    for (let taken = 0; taken < 3; taken += 1) {
      await until(() => takers.length === taken + 1);
      await sleep(20);
      expect(sink.chunks).toHaveLength(taken + 1);
      takers[taken]?.();
    }
    await finished;
    expect(sink.chunks.map(({ text }) => text)).toEqual(['0', '1', '2']);
    expect(sink.answer(item.id)).toBe('chunks 3 done');
  });

  it.each(['is gone', 'fails'])(
    'are dropped when their reader %s, and the worker is free again',
    async (how) => {
      const worker = await workers.start();
      const sink = new CollectingSink();
      sink.room = () =>
        how === 'fails' ? Promise.reject(new Error('connection reset')) : new Promise(() => {});
      const item = textItem('chunks 500');
      const finished = worker.run([item], sink);
      await until(() => sink.chunks.length === 1);
      if (how === 'is gone') worker.cancel(item.id);
      await finished;
      expect(sink.chunks).toHaveLength(1);
      expect(worker.state).toBe('idle');
    },
  );

  it('come to every item of a batch', async () => {
    const worker = await workers.start();
    const { items, sink } = await ask(worker, 'chunks 2', 'b');
    const partsOf = ({ id }: BatchItem) =>
      sink.chunks.filter((chunk) => chunk.id === id).map(({ text }) => text);
    expect(items.map(partsOf)).toEqual([
      ['0', '1'],
      ['0', '1'],
    ]);
  });
});

describe.skipIf(python === undefined)('the start of a Python worker', () => {
  const startOf = (handler: string, options = {}) => workers.make(options).start({ handler });

  it.each([
    ['exits_at_import.py', 'WORKER_DIED', /exit code 7.*the licence is missing/s],
    ['fails_at_import.py', 'WORKER_DIED', /exit code 1.*fails_at_import/s],
    ['fails_at_init.py', 'HANDLER_INVALID', /no such weights/],
    ['nowhere.py', 'WORKER_DIED', /nowhere/],
  ])('fails with the last words of the handler: %s', async (handler, code, words) => {
    const outcome = await startOf(handler);
    expect(outcome).toMatchObject({ kind: 'transient', error: { code } });
    const { cause } = (outcome as { error: Error }).error;
    expect((cause as Error).message).toMatch(words);
    expect(exits).toEqual([]);
  });

  it('fails with 507 when the model is too large', async () => {
    expect(await startOf('out_of_memory.py')).toMatchObject({
      kind: 'transient',
      error: { code: 'OUT_OF_RESOURCES', status: 507 },
    });
  });

  it('is given up when loading takes too long, and is cut short by stop', async () => {
    expect(await startOf('slow_at_init.py', { startTimeoutMs: 200 })).toMatchObject({
      kind: 'transient',
      error: { code: 'WORKER_START_TIMEOUT' },
    });
    const worker = workers.make();
    const outcome = worker.start({ handler: 'slow_at_init.py' });
    await worker.stop();
    expect(await outcome).toMatchObject({ kind: 'transient', error: { code: 'SHUTTING_DOWN' } });
    expect([worker.state, exits]).toEqual(['stopped', []]);
  });

  it('is refused a second time', async () => {
    const worker = await workers.start();
    expect(await worker.start({ handler: 'script_handler.py' })).toMatchObject({ kind: 'permanent' });
    expect(worker.state).toBe('idle');
  });

  it.each([
    [
      'no Python',
      { interpreter: 'no-such-python' },
      'RUNTIME_UNSUPPORTED',
      /There is no Python "no-such-python"/,
    ],
    ['no Python at all', { interpreter: '/bin/false' }, 'RUNTIME_UNSUPPORTED', /is no Python that works/],
    ['hardly any memory', { memoryLimitMb: 100 }, 'OPTIONS_INVALID', /at least 512/],
  ])('is given up for good with %s', async (_what, options, code, message) => {
    const outcome = await startOf('script_handler.py', options);
    expect(outcome).toMatchObject({ kind: 'permanent', error: { code } });
    expect((outcome as { error: Error }).error.message).toMatch(message);
  });
});

describe.skipIf(python === undefined)('the end of a Python worker', () => {
  it('waits for the running batch, and leaves nothing behind', async () => {
    const worker = await workers.start();
    expect(readdirSync(temporary)).toHaveLength(1);
    const { pid } = worker;
    const sink = new CollectingSink();
    const items = [textItem('sleep 0.3'), textItem('second')];
    const finished = worker.run(items, sink);
    await worker.stop();
    await finished;
    expect(items.map(({ id }) => sink.answer(id))).toEqual(['sleep 0.3 done', 'second done']);
    expect([worker.state, exits, isAlive(pid)]).toEqual(['stopped', [], false]);
    expect(readdirSync(temporary)).toEqual([]);
    expect((await ask(worker, 'late')).answers).toEqual(['INTERNAL']);
  });

  it('comes when it is quarantined, and its items fail at once', async () => {
    const worker = await workers.start();
    const { pid } = worker;
    const sink = new CollectingSink();
    const item = textItem('hang');
    const finished = worker.run([item], sink);
    const ended = worker.quarantine(new MarlineError('WORKER_DIED'));
    expect(sink.answer(item.id)).toBe('WORKER_DIED');
    await ended;
    await finished;
    expect([worker.state, exits, isAlive(pid)]).toEqual(['stopped', [], false]);
  });

  it.each([
    ['exit 3', 500, /exit code 3/],
    ['exit 137', 507, /exit code 137/],
    ['kill', 507, /by SIGKILL/],
    ['garbage', 500, /a message of length/],
  ])('by itself fails its batch with the answer of TorchServe: %s', async (action, status, words) => {
    const worker = await workers.start();
    const { items, sink } = await ask(worker, action, 'b');
    for (const { id } of items) {
      const error = sink.errors.get(id);
      expect(error).toMatchObject({ code: 'WORKER_DIED', message: 'Worker died.', status });
      expect(String(error?.cause)).toMatch(words);
    }
    expect([worker.state, exits.length]).toEqual(['stopped', 1]);
  });

  it('comes for an answer above the limit', async () => {
    const worker = await workers.start({ maxResponseSize: 1000 });
    expect((await ask(worker, `echo ${'x'.repeat(995)}`)).answers).toEqual([`echo ${'x'.repeat(995)}`]);
    expect((await ask(worker, `echo ${'x'.repeat(996)}`)).answers).toEqual(['WORKER_DIED']);
  });

  it('takes along what its handler started', async () => {
    const worker = await workers.start();
    const [child] = (await ask(worker, 'child')).answers;
    expect(isAlive(Number(child))).toBe(true);
    await worker.stop();
    await until(() => !isAlive(Number(child)));
  });
});

describe.skipIf(python === undefined)('a handler that prints 100 MB', () => {
  it.each(['print 100', 'line 100'])('costs neither its answer nor memory: %s', async (action) => {
    const worker = await workers.start();
    const before = process.memoryUsage().rss;
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
    const { answers } = await ask(worker, action);
    clearInterval(watch);
    expect(answers).toEqual([`${action} done`]);
    expect(most - before).toBeLessThan(60 * 2 ** 20);
    expect(logs.length).toBeLessThan(5000);
  });
});
