import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError, type BatchItem, type TensorInput } from '#libs/common';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import type { ScriptModel } from './fixtures/script.js';
import { ScriptWorkers, ask, type ScriptOptions } from './worker-kinds.js';

const workers = new ScriptWorkers();
const { exits } = workers;
const started = (model: Partial<ScriptModel> = {}, options: ScriptOptions = {}) =>
  workers.start('thread', model, options);

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

afterEach(() => workers.end());

describe('a worker thread', () => {
  it('fails an answer that cannot be cloned alone', async () => {
    const { worker } = await started();
    expect((await ask(worker, 'a', 'function', 'd')).answers).toEqual([
      'a done',
      'OUTPUT_NOT_SERIALIZABLE',
      'd done',
    ]);
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

  it('takes whole large buffers with it instead of copying them, and copies what is a part of one', async () => {
    const { worker } = await started();
    const data = new Float32Array(20_000);
    const part = new Float32Array(40_000).subarray(10_000);
    const pooled = Buffer.from('echo');
    const tensor = (value: Float32Array) =>
      ({ dtype: 'float32', shape: [value.length], data: value }) as const;
    const items: BatchItem[] = [
      { id: 'tensors', input: { kind: 'tensors', tensors: { x: tensor(data), y: tensor(part) } } },
      {
        id: 'pooled',
        input: { kind: 'raw', headers: '', parameters: [{ name: 'body', contentType: '', value: pooled }] },
      },
    ];
    const sink = new CollectingSink();
    await worker.run(items, sink);
    expect([data.byteLength, part.byteLength]).toEqual([0, 120_000]);
    expect(pooled.toString()).toBe('echo');
    expect(sink.answer('pooled')).toBe('echo');
  });

  it('fails only the item whose tensor was handed over before', async () => {
    const { worker } = await started();
    const input: TensorInput = {
      kind: 'tensors',
      tensors: { x: { dtype: 'float32', shape: [10_000], data: new Float32Array(10_000) } },
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
});

describe('the start of a worker thread', () => {
  it.each(['spin', 'wait', 'native'] as const)('is given up when loading hangs (%s)', async (load) => {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    const worker = workers.make('thread', { startTimeoutMs: load === 'native' ? 1 : 300 });
    const outcome = await worker.start({ load, progress });
    expect(outcome).toMatchObject({ kind: 'transient', error: { code: 'WORKER_START_TIMEOUT' } });
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });

  it('fails with the cause when the entry does not load', async () => {
    const worker = workers.make('thread', {
      entry: new URL('./fixtures/missing.worker.js', import.meta.url),
    });
    const outcome = await worker.start({ load: 'ok' });
    expect(outcome).toMatchObject({ kind: 'transient', error: { code: 'WORKER_DIED' } });
    expect(outcome.kind === 'transient' && String(outcome.error.cause)).toMatch(/missing\.worker/);
  });

  it('fails when the model cannot be sent, and when it is asked for twice', async () => {
    const worker = workers.make('thread');
    const model = { load: 'ok', leavesTimer: (() => true) as unknown as boolean } as const;
    expect(await worker.start(model)).toMatchObject({ kind: 'permanent' });
    expect(await worker.start({ load: 'ok' })).toMatchObject({ kind: 'permanent' });
  });
});

describe('the end of a worker thread', () => {
  it.each([
    ['exit 3', 'WORKER_DIED', /exit code 3/],
    ['reject', 'WORKER_DIED', /nobody handles this/],
    ['fill', 'OUT_OF_RESOURCES', /memory/],
  ])('by itself (%s) fails what has no answer yet and tells the cause', async (action, code, cause) => {
    const { worker } = await started({}, { resourceLimits: { maxOldGenerationSizeMb: 48 } });
    const { answers } = await ask(worker, 'first', action, 'third');
    expect(answers).toEqual(['first done', code, code]);
    expect(worker.state).toBe('stopped');
    expect(exits.map((error) => error.code)).toEqual([code]);
    expect(String(exits[0]?.cause)).toMatch(cause);
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
});
