import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError, type BatchItem, type Tensor, type TensorInput, type Tensors } from '#libs/common';
import { recycle, takeBuffer } from '#libs/pool';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { KINDS, ScriptWorkers, ask } from './worker-kinds.js';

const workers = new ScriptWorkers();
const { exits, logs, metrics } = workers;

afterEach(() => workers.end());

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** A body that begins with an action. */
function largeItem(action: string, byteLength: number, id: string): BatchItem {
  const value = new Uint8Array(takeBuffer(byteLength), 0, byteLength).fill(120);
  value.set(Buffer.from(`${action} `));
  return { id, input: { kind: 'raw', headers: '', parameters: [{ name: 'body', contentType: '', value }] } };
}

function bytesOf(sink: CollectingSink, id: string): Uint8Array {
  const output = sink.results.get(id)?.output;
  if (output?.kind !== 'bytes') throw new Error(`Item ${id} has no bytes: ${sink.answer(id)}`);
  return output.bytes;
}

describe.each(KINDS)('a worker (%s)', (kind) => {
  it('answers every item of a batch, each with its own result or error', async () => {
    const { worker } = await workers.start(kind);
    const { answers, sink } = await ask(worker, 'a', 'throw why', 'c');
    expect(answers).toEqual(['a done', 'PREDICTION_EXCEPTION', 'c done']);
    expect([...sink.errors.values()][0]?.message).toBe('why');
    expect(worker.state).toBe('idle');
  });

  it('fails an item that the engine forgot, alone', async () => {
    const { worker } = await workers.start(kind);
    expect((await ask(worker, 'a', 'forget', 'd')).answers).toEqual(['a done', 'INTERNAL', 'd done']);
  });

  it('passes on metrics and log lines', async () => {
    const { worker } = await workers.start(kind);
    await ask(worker, 'log hello');
    expect(logs).toEqual(['warn hello']);
    expect(metrics).toEqual([
      { name: 'said', value: 1, unit: 'Count', type: 'counter', dimensions: { at: 'x' } },
    ]);
  });

  it('brings large bodies and answers to the other side whole, many in a row', async () => {
    const { worker } = await workers.start(kind);
    const sizes = [1000, 40_000, 65_536, 600_000, 3_000_000, 131_072];
    for (let round = 0; round < 5; round += 1) {
      const sink = new CollectingSink();
      const items = sizes.map((size, index) => largeItem(`echo ${index}`, size, `${round} ${index}`));
      await worker.run(items, sink);
      for (const [index, size] of sizes.entries()) {
        const bytes = bytesOf(sink, `${round} ${index}`);
        expect(bytes.byteLength).toBe(size);
        expect(Buffer.from(bytes).toString()).toBe(`echo ${index} `.padEnd(size, 'x'));
      }
    }
  });

  it('lets no handler see what other requests left in memory', async () => {
    const { worker } = await workers.start(kind);
    const left = takeBuffer(100_000);
    Buffer.from(left).fill('secret');
    recycle(left);
    await worker.run([largeItem('echo', 100_000, 'before')], new CollectingSink());
    const sink = new CollectingSink();
    const items = [textItem('secret'), textItem('behind', 'small'), largeItem('behind', 99_000, 'large')];
    await worker.run(items, sink);
    expect([sink.answer('small'), sink.answer('large')]).toEqual(['', '']);
  });

  it('takes tensors of every type, and brings them back with their names and shapes', async () => {
    const { worker } = await workers.start(kind);
    const tensors: Tensors = Object.fromEntries<Tensor>([
      ['float', { dtype: 'float32', shape: [2, 2], data: new Float32Array([1, 2, 3, Number.NaN]) }],
      ['odd', { dtype: 'uint8', shape: [3], data: new Uint8Array([1, 2, 3]) }],
      ['double', { dtype: 'float64', shape: [1], data: new Float64Array([Math.PI]) }],
      ['long', { dtype: 'int64', shape: [2], data: new BigInt64Array([-1n, 2n ** 62n]) }],
      ['half', { dtype: 'float16', shape: [], data: new Uint16Array([15_360]) }],
      ['text', { dtype: 'string', shape: [2], data: ['a', 'ü'] }],
      ['none', { dtype: 'int32', shape: [0, 4], data: new Int32Array(0) }],
      ['large', { dtype: 'float32', shape: [50_000], data: new Float32Array(50_000).fill(7) }],
      ['__proto__', { dtype: 'bool', shape: [1], data: new Uint8Array([1]) }],
    ]);
    const expected = structuredClone(tensors);
    const sink = new CollectingSink();
    const input: TensorInput = { kind: 'tensors', tensors };
    await worker.run([{ id: 'a', input }, textItem('b', 'b')], sink);
    const output = sink.results.get('a')?.output;
    expect(output).toEqual({ kind: 'tensors', tensors: expected });
    expect(sink.answer('b')).toBe('b done');
  });
});

describe.each(KINDS)('chunks of a worker (%s)', (kind) => {
  it('wait for their reader', async () => {
    const { worker } = await workers.start(kind);
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
    expect(sink.answer(item.id)).toBe('chunks done');
  });

  it('stop when the item is cancelled while its reader is away', async () => {
    const { worker } = await workers.start(kind);
    const sink = new CollectingSink();
    sink.room = () => new Promise(() => {});
    const item = textItem('chunks 1000000');
    const finished = worker.run([item], sink);
    await until(() => sink.chunks.length === 1);
    worker.cancel('nobody');
    worker.cancel(item.id);
    await finished;
    expect(sink.chunks).toHaveLength(1);
    expect(sink.answer(item.id)).toBe('chunks done');
  });

  it('stop when their reader fails', async () => {
    const { worker } = await workers.start(kind);
    const sink = new CollectingSink();
    sink.room = () => Promise.reject(new Error('connection reset'));
    await worker.run([textItem('chunks 1000000')], sink);
    expect(sink.chunks).toHaveLength(1);
    expect(worker.state).toBe('idle');
  });
});

describe.each(KINDS)('the start of a worker (%s)', (kind) => {
  it('tells a permanent from a transient failure, with its cause', async () => {
    const permanent = workers.make(kind);
    expect(await permanent.start({ load: 'permanent' })).toMatchObject({
      kind: 'permanent',
      error: { code: 'MODEL_INVALID', message: 'no such opset' },
    });
    const transient = workers.make(kind);
    expect(await transient.start({ load: 'transient' })).toMatchObject({
      kind: 'transient',
      error: { details: { reason: 'the disk is away' } },
    });
    await Promise.all([permanent.stop(), transient.stop()]);
    expect([permanent.state, transient.state, exits]).toEqual(['stopped', 'stopped', []]);
  });

  it('is given up when loading takes too long, and is cut short by stop', async () => {
    const slow = workers.make(kind, { startTimeoutMs: 300 });
    expect(await slow.start({ load: 'wait' })).toMatchObject({
      kind: 'transient',
      error: { code: 'WORKER_START_TIMEOUT' },
    });
    const stopped = workers.make(kind);
    const outcome = stopped.start({ load: 'wait' });
    await stopped.stop();
    expect(await outcome).toMatchObject({ kind: 'transient', error: { code: 'SHUTTING_DOWN' } });
    await slow.stop();
    expect([slow.state, stopped.state, exits]).toEqual(['stopped', 'stopped', []]);
  });

  it('is refused a second time', async () => {
    const { worker } = await workers.start(kind);
    expect(await worker.start({ load: 'ok' })).toMatchObject({ kind: 'permanent' });
    expect(worker.state).toBe('idle');
  });
});

describe.each(KINDS)('the end of a worker (%s)', (kind) => {
  it('waits for the running batch', async () => {
    const { worker } = await workers.start(kind);
    const sink = new CollectingSink();
    const items = [textItem('native 100'), textItem('second')];
    const finished = worker.run(items, sink);
    await worker.stop();
    await finished;
    expect(items.map(({ id }) => sink.answer(id))).toEqual(['native done', 'second done']);
    expect([worker.state, exits]).toEqual(['stopped', []]);
  });

  it('comes when it is quarantined, and its items fail at once', async () => {
    const { worker } = await workers.start(kind);
    const sink = new CollectingSink();
    const item = textItem('chunks 1000000');
    sink.room = () => new Promise(() => {});
    const finished = worker.run([item], sink);
    await until(() => sink.chunks.length === 1);
    const ended = worker.quarantine(new MarlineError('WORKER_DIED'));
    expect(['quarantined', 'stopped']).toContain(worker.state);
    expect(sink.answer(item.id)).toBe('WORKER_DIED');
    if (kind === 'inline') worker.cancel(item.id);
    await ended;
    await finished;
    expect([worker.state, exits]).toEqual(['stopped', []]);
  });

  it('refuses work afterwards', async () => {
    const { worker } = await workers.start(kind);
    await worker.stop();
    expect((await ask(worker, 'late')).answers).toEqual(['INTERNAL']);
  });
});
