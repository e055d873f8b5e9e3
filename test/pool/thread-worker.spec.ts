import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError, type BatchItem, type HandlerMetric, type TensorInput } from '#libs/common';
import { ThreadWorker, type ThreadWorkerOptions, type WorkerEvents } from '#libs/pool';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import type { ScriptModel } from './fixtures/script.worker.js';

const entry = new URL('./fixtures/script.worker.js', import.meta.url);
const exits: MarlineError[] = [];
const logs: string[] = [];
const metrics: HandlerMetric[] = [];
const events: WorkerEvents = {
  exited: (error) => exits.push(error),
  metric: (metric) => metrics.push(metric),
  log: (level, text) => logs.push(`${level} ${text}`),
};
const workers: { stop(): Promise<void> }[] = [];

function make(options: Partial<ThreadWorkerOptions> = {}) {
  const worker = new ThreadWorker<ScriptModel, { threadId: number; priority: number; env: string[] }>({
    id: 9000,
    entry,
    events,
    startTimeoutMs: 30_000,
    ...options,
  });
  workers.push(worker);
  return worker;
}

async function started(model: Partial<ScriptModel> = {}, options: Partial<ThreadWorkerOptions> = {}) {
  const worker = make(options);
  const outcome = await worker.start({ load: 'ok', ...model });
  if (outcome.kind !== 'ready') throw outcome.error;
  return { worker, info: outcome.info };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** Runs one action per item and returns the answers. */
async function run(worker: ReturnType<typeof make>, ...actions: string[]) {
  const items = actions.map((action) => textItem(action));
  const sink = new CollectingSink();
  await worker.run(items, sink);
  return { sink, answers: items.map(({ id }) => sink.answer(id)) };
}

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  exits.length = logs.length = metrics.length = 0;
});

describe('a worker thread', () => {
  it('answers every item of a batch, each with its own result or error', async () => {
    const { worker } = await started();
    const { answers, sink } = await run(worker, 'a', 'throw why', 'c');
    expect(answers).toEqual(['a done', 'PREDICTION_EXCEPTION', 'c done']);
    expect([...sink.errors.values()][0]?.message).toBe('why');
    expect(worker.state).toBe('idle');
  });

  it('fails an answer that cannot be cloned and an item that the engine forgot, alone', async () => {
    const { worker } = await started();
    expect((await run(worker, 'a', 'function', 'forget', 'd')).answers).toEqual([
      'a done',
      'OUTPUT_NOT_SERIALIZABLE',
      'INTERNAL',
      'd done',
    ]);
  });

  it('passes on metrics and log lines', async () => {
    const { worker } = await started();
    await run(worker, 'log hello');
    expect(logs).toEqual(['warn hello']);
    expect(metrics.map(({ name }) => name)).toEqual(['said']);
  });

  it.runIf(process.platform === 'linux')('lowers its own priority and not that of the process', async () => {
    const { info } = await started();
    expect(info.priority).toBe(10);
    expect((await import('node:os')).getPriority(0)).toBeLessThan(10);
  });

  it('shows the thread no environment but what it is given', async () => {
    process.env['MARLINE_TEST_SECRET'] = 'secret';
    try {
      const { info } = await started();
      expect(info.env).not.toContain('MARLINE_TEST_SECRET');
      expect(info.env).not.toContain('PATH');
      expect((await started({}, { env: { ONLY: 'this' } })).info.env).toEqual(['ONLY']);
    } finally {
      delete process.env['MARLINE_TEST_SECRET'];
    }
  });

  it('takes whole buffers with it instead of copying them', async () => {
    const { worker } = await started();
    const data = new Float32Array(1000);
    const pooled = Buffer.from('echo');
    const raw = textItem('echo');
    const items: BatchItem[] = [
      {
        id: 'tensors',
        input: { kind: 'tensors', tensors: { x: { dtype: 'float32', shape: [1000], data } } },
      },
      raw,
      {
        id: 'pooled',
        input: { kind: 'raw', headers: '', parameters: [{ name: 'body', contentType: '', value: pooled }] },
      },
    ];
    const sink = new CollectingSink();
    await worker.run(items, sink);
    expect(data.byteLength).toBe(0);
    expect(raw.input.kind === 'raw' && raw.input.parameters[0]?.value.byteLength).toBe(0);
    expect(pooled.toString()).toBe('echo');
    expect(sink.answer('pooled')).toBe('echo done');
  });

  it('fails only the item whose tensor was handed over before', async () => {
    const { worker } = await started();
    const input: TensorInput = {
      kind: 'tensors',
      tensors: { x: { dtype: 'float32', shape: [4], data: new Float32Array(4) } },
    };
    await worker.run([{ id: 'first', input }], new CollectingSink());
    const sink = new CollectingSink();
    const good = textItem('good');
    await worker.run([{ id: 'again', input }, good], sink);
    expect(sink.answer('again')).toBe('INVALID_INPUT');
    expect(sink.answer(good.id)).toBe('good done');
    await worker.run([{ id: 'alone', input }], sink);
    expect(sink.answer('alone')).toBe('INVALID_INPUT');
    expect(worker.state).toBe('idle');
  });
});

describe('chunks of a worker thread', () => {
  it('wait for their reader', async () => {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    const { worker } = await started({ progress });
    const sink = new CollectingSink();
    const takers: (() => void)[] = [];
    sink.room = () => new Promise((resolve) => takers.push(resolve));
    const item = textItem('chunks 3');
    const finished = worker.run([item], sink);
    for (let taken = 0; taken < 3; taken += 1) {
      await until(() => takers.length === taken + 1);
      // The thread answers messages in order: after this round trip it would have sent another chunk, had it not waited.
      worker.cancel('nobody');
      await sleep(20);
      expect(sink.chunks).toHaveLength(taken + 1);
      expect(Atomics.load(progress, 0)).toBe(taken);
      takers[taken]?.();
    }
    await finished;
    expect(sink.chunks.map(({ text }) => text)).toEqual(['0', '1', '2']);
    expect(sink.answer(item.id)).toBe('chunks done');
  });

  it('stop when the item is cancelled while its reader is away', async () => {
    const { worker } = await started();
    const sink = new CollectingSink();
    sink.room = () => new Promise(() => {});
    const item = textItem('chunks 1000000');
    const finished = worker.run([item], sink);
    await until(() => sink.chunks.length === 1);
    worker.cancel(item.id);
    await finished;
    expect(sink.chunks).toHaveLength(1);
    expect(sink.answer(item.id)).toBe('chunks done');
  });

  it('stop when their reader fails', async () => {
    const { worker } = await started();
    const sink = new CollectingSink();
    sink.room = () => Promise.reject(new Error('connection reset'));
    await worker.run([textItem('chunks 1000000')], sink);
    expect(sink.chunks).toHaveLength(1);
    expect(worker.state).toBe('idle');
  });
});

describe('the start of a worker thread', () => {
  it('tells a permanent from a transient failure, with its cause, and ends the thread', async () => {
    const permanent = make();
    expect(await permanent.start({ load: 'permanent' })).toMatchObject({
      kind: 'permanent',
      error: { code: 'MODEL_INVALID', message: 'no such opset' },
    });
    const transient = make();
    expect(await transient.start({ load: 'transient' })).toMatchObject({
      kind: 'transient',
      error: { details: { reason: 'the disk is away' } },
    });
    await Promise.all([permanent.stop(), transient.stop()]);
    expect([permanent.state, transient.state, exits]).toEqual(['stopped', 'stopped', []]);
  });

  it.each(['spin', 'wait', 'native'] as const)('is given up when loading hangs (%s)', async (load) => {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    const worker = make({ startTimeoutMs: load === 'native' ? 1 : 300 });
    const outcome = await worker.start({ load, progress });
    expect(outcome).toMatchObject({ kind: 'transient', error: { code: 'WORKER_START_TIMEOUT' } });
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });

  it('fails with the cause when the entry does not load', async () => {
    const worker = make({ entry: new URL('./fixtures/missing.worker.js', import.meta.url) });
    const outcome = await worker.start({ load: 'ok' });
    expect(outcome).toMatchObject({ kind: 'transient', error: { code: 'WORKER_DIED' } });
    expect(outcome.kind === 'transient' && String(outcome.error.cause)).toMatch(/missing\.worker/);
  });

  it('fails when the model cannot be sent, and when it is asked for twice', async () => {
    const worker = make();
    const model = { load: 'ok', leavesTimer: (() => true) as unknown as boolean } as const;
    expect(await worker.start(model)).toMatchObject({ kind: 'permanent' });
    expect(await worker.start({ load: 'ok' })).toMatchObject({ kind: 'permanent' });
  });

  it('is cut short by stop', async () => {
    const worker = make();
    const outcome = worker.start({ load: 'wait' });
    await worker.stop();
    expect(await outcome).toMatchObject({ kind: 'transient', error: { code: 'SHUTTING_DOWN' } });
    expect(worker.state).toBe('stopped');
  });
});

describe('the end of a worker thread', () => {
  it.each([
    ['exit 3', 'WORKER_DIED', /exit code 3/],
    ['reject', 'WORKER_DIED', /nobody handles this/],
    ['fill', 'OUT_OF_RESOURCES', /memory/],
  ])('by itself (%s) fails what has no answer yet and tells the cause', async (action, code, cause) => {
    const { worker } = await started({}, { resourceLimits: { maxOldGenerationSizeMb: 48 } });
    const { answers } = await run(worker, 'first', action, 'third');
    expect(answers).toEqual(['first done', code, code]);
    expect(worker.state).toBe('stopped');
    expect(exits.map((error) => error.code)).toEqual([code]);
    expect(String(exits[0]?.cause)).toMatch(cause);
  });

  it('waits for the running batch', async () => {
    const { worker } = await started();
    const sink = new CollectingSink();
    const items = [textItem('native 100'), textItem('second')];
    const finished = worker.run(items, sink);
    await worker.stop();
    await finished;
    expect(items.map(({ id }) => sink.answer(id))).toEqual(['native done', 'second done']);
    expect([worker.state, exits]).toEqual(['stopped', []]);
  });

  it('comes although a handler left a timer behind', async () => {
    const { worker } = await started({ leavesTimer: true });
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });

  it('comes to an endless loop that is quarantined', async () => {
    const { worker } = await started();
    const sink = new CollectingSink();
    const item = textItem('loop');
    const finished = worker.run([item], sink);
    await sleep(100);
    const ended = worker.quarantine(new MarlineError('WORKER_DIED'));
    expect([worker.state, sink.answer(item.id)]).toEqual(['quarantined', 'WORKER_DIED']);
    await ended;
    await finished;
    expect([worker.state, exits]).toEqual(['stopped', []]);
  });

  it('never comes inside a native call, but right after it', async () => {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    const { worker } = await started({ progress });
    const sink = new CollectingSink();
    const items = [textItem('native 400'), textItem('loop')];
    void worker.run(items, sink);
    await until(() => Atomics.load(progress, 0) === 1);
    const ended = worker.quarantine(new MarlineError('WORKER_DIED'));
    expect(items.map(({ id }) => sink.answer(id))).toEqual(['WORKER_DIED', 'WORKER_DIED']);
    expect(Atomics.load(progress, 0)).toBe(1);
    await ended;
    expect(Atomics.load(progress, 0)).toBe(2);
    expect(worker.state).toBe('stopped');
  });

  it('refuses work afterwards', async () => {
    const { worker } = await started();
    await worker.stop();
    expect((await run(worker, 'late')).answers).toEqual(['INTERNAL']);
  });
});
