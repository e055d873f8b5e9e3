import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ServedModel } from '#libs/inference';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { openRegistry, type OpenRegistry } from '../support/open-registry.js';
import { pythonVenv } from '../support/python-venv.js';
import {
  ScriptWorkers,
  handlersDir,
  isAlive,
  type ScriptOptions,
  type ScriptWorker,
} from './python-workers.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`No asynchronous Python worker is tried: ${missing}.`);

const workers = new ScriptWorkers(python ?? '');
afterEach(() => workers.end());

const started = (options: ScriptOptions = {}) =>
  workers.start(
    { async: { capacity: 8, silenceLimitMs: 60_000 }, ...options },
    { handler: 'async_handler.py' },
  );

/** Begins a run for each body; answers are kept by body. */
function begin(worker: ScriptWorker, sink: CollectingSink, ...bodies: string[]): Promise<void>[] {
  return bodies.map((body) => worker.run([textItem(body, body)], sink));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe.skipIf(python === undefined)('an asynchronous Python worker', () => {
  it('takes batches while others are under way, and answers each when it is done', async () => {
    const worker = await started();
    const sink = new CollectingSink();
    const [slow, ...quick] = begin(worker, sink, 'sleep 1', 'a', 'b', 'c');
    expect(worker.state).toBe('idle');
    await Promise.all(quick);
    expect([sink.answer('a'), sink.answer('c'), sink.answer('sleep 1')]).toEqual([
      'a done',
      'c done',
      undefined,
    ]);
    await slow;
    expect(sink.answer('sleep 1')).toBe('sleep 1 done');
    expect(workers.logs).toEqual([]);
  });

  it('takes no more than its capacity', async () => {
    const worker = await started({ async: { capacity: 2, silenceLimitMs: 0 } });
    const sink = new CollectingSink();
    const runs = begin(worker, sink, 'sleep 0.3', 'sleep 0.2');
    expect(worker.state).toBe('busy');
    await worker.run([textItem('more', 'more')], sink);
    expect(sink.answer('more')).toBe('INTERNAL');
    await Promise.all(runs);
    expect([worker.state, sink.answer('sleep 0.3')]).toEqual(['idle', 'sleep 0.3 done']);
  });

  it('fails only the batch whose handler fails', async () => {
    const worker = await started();
    const sink = new CollectingSink();
    const batch = ['raise why', 'with it'].map((text) => textItem(text, text));
    const runs = [worker.run(batch, sink), ...begin(worker, sink, 'sleep 0.2', 'a')];
    await Promise.all(runs);
    expect(sink.errors.get('raise why')).toMatchObject({ code: 'PREDICTION_EXCEPTION', status: 418 });
    expect(sink.errors.get('with it')).toMatchObject({ code: 'PREDICTION_EXCEPTION', status: 418 });
    expect([sink.answer('sleep 0.2'), sink.answer('a')]).toEqual(['sleep 0.2 done', 'a done']);
  });

  it('streams several answers at once, and a reader that takes nothing holds up only itself', async () => {
    const worker = await started({ maxResponseSize: 1_000_000 });
    const sink = new CollectingSink();
    sink.room = (id) => (id.startsWith('fill') ? new Promise(() => {}) : Promise.resolve());
    await Promise.all(begin(worker, sink, 'fill 50', 'chunks 4', 'chunks 5'));
    const parts = (id: string) => sink.chunks.filter((chunk) => chunk.id === id).map(({ text }) => text);
    expect(parts('chunks 4')).toEqual(['0', '1', '2', '3']);
    expect(parts('chunks 5')).toEqual(['0', '1', '2', '3', '4']);
    expect([sink.answer('chunks 4'), sink.answer('chunks 5')]).toEqual(['chunks 4 done', 'chunks 5 done']);
    expect(parts('fill 50')).toHaveLength(1);
    expect(sink.errors.get('fill 50')).toMatchObject({
      code: 'OUT_OF_RESOURCES',
      cause: { message: expect.stringContaining('read so slowly') as string },
    });
  });

  it('gives up a batch whose reply is lost, alone while others are answered', async () => {
    const worker = await started({ async: { capacity: 8, silenceLimitMs: 1000 } });
    const sink = new CollectingSink();
    const [lost] = begin(worker, sink, 'lose');
    let over = false;
    const others = (async () => {
      while (!over) await worker.run([textItem('sleep 0.1')], sink);
    })();
    await lost;
    over = true;
    await others;
    expect(sink.errors.get('lose')).toMatchObject({ code: 'DEADLINE_EXCEEDED', status: 504 });
    await Promise.all(begin(worker, sink, 'after'));
    expect([worker.state, sink.answer('after')]).toEqual(['idle', 'after done']);
  });

  it('is ended when it says nothing any more', async () => {
    const worker = await started({ async: { capacity: 8, silenceLimitMs: 500 } });
    const sink = new CollectingSink();
    await Promise.all(begin(worker, sink, 'block', 'waits for it'));
    for (const id of ['block', 'waits for it'])
      expect(sink.errors.get(id)).toMatchObject({
        code: 'WORKER_DIED',
        status: 500,
        message: 'Worker died.',
      });
    expect([worker.state, workers.exits]).toMatchObject(['stopped', [{ code: 'WORKER_DIED' }]]);
  });

  it('answers what is under way before it stops, and leaves no process', async () => {
    const worker = await started();
    const sink = new CollectingSink();
    const runs = begin(worker, sink, 'sleep 0.3', 'sleep 0.1');
    await worker.stop();
    await Promise.all(runs);
    expect([sink.answer('sleep 0.3'), sink.answer('sleep 0.1')]).toEqual([
      'sleep 0.3 done',
      'sleep 0.1 done',
    ]);
    await until(() => !isAlive(worker.pid));
  });
});

describe.skipIf(python === undefined)('a model with asyncCommunication', () => {
  let open: OpenRegistry;
  beforeAll(async () => {
    open = await openRegistry({ python: python ?? '', decodeInputRequest: false });
  });
  afterAll(() => open.close());

  const bytes = (text: string) => new TextEncoder().encode(text);

  async function serve(modelName: string, config: string) {
    const configFile = join(open.store, `${modelName}.yaml`);
    writeFileSync(configFile, `minWorkers: 1\nmaxWorkers: 1\nasyncCommunication: true\n${config}`);
    await open.pack({ modelName, handler: join(handlersDir, 'async_handler.py'), configFile });
    const runtime = await open.registry.register({ url: `${modelName}.mar`, synchronous: true });
    return { runtime, model: new ServedModel(modelName, open.registry) };
  }

  it('has as many requests in its one worker as its queue is long, and as many more in the queue', async () => {
    const { runtime, model } = await serve('many', 'jobQueueSize: 3');
    const asked = Array.from({ length: 7 }, (_, at) => model.predict(bytes(`sleep 0.${at + 2}`)));
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.map(({ status }) => status)).toEqual([...Array<string>(6).fill('fulfilled'), 'rejected']);
    expect(outcomes[6]).toMatchObject({ reason: { code: 'QUEUE_FULL' } });
    expect(runtime.queue()).toEqual({ remainingCapacity: 3, pendingRequests: 0 });
  });

  it('keeps to the deadline of a request, and streams', async () => {
    const { model } = await serve('bounded', '');
    await expect(model.predict(bytes('sleep 2'), { deadlineMs: 200 })).rejects.toMatchObject({ status: 504 });
    const parts: unknown[] = [];
    for await (const part of model.stream(bytes('chunks 3'))) parts.push(part);
    expect(parts).toEqual([0, 1, 2, 'chunks 3 done']);
  });

  it('gets a new worker when the old one blocks', async () => {
    const { runtime, model } = await serve('blocks', 'responseTimeout: 1');
    const [{ pid } = { pid: 0 }] = runtime.workers();
    await expect(model.predict(bytes('block'))).rejects.toMatchObject({ code: 'WORKER_DIED', status: 500 });
    expect(await model.predict(bytes('next'))).toBe('next done');
    expect(runtime.workers()[0]?.pid).not.toBe(pid);
  });
});
