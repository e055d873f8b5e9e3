import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fixture } from '../support/open-registry.js';
import {
  LANGUAGES,
  killed,
  statefulApp,
  until,
  type StatefulApp,
  type StatefulModel,
} from './stateful-app.js';

let app: StatefulApp;
beforeAll(async () => {
  app = await statefulApp();
});
afterEach(() => app.clear());
afterAll(() => app.close());

interface Told {
  readonly sequence: string;
  readonly sum: number;
  readonly batch: number;
  readonly start: string | null;
  readonly end: string | null;
}

const CONFIG = [
  'minWorkers: 2',
  'maxWorkers: 2',
  'batchSize: 4',
  'sequenceBatching: true',
  'sequenceMaxIdleMSec: 60000',
  'maxNumSequence: 8',
  'maxSequenceJobQueueSize: 20',
];

/** Sends a body of a sequence over HTTP. */
async function post(
  { url }: StatefulModel,
  body: object,
  sequence?: string,
  headers: Record<string, string> = {},
) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(sequence === undefined ? {} : { ts_request_sequence_id: sequence }),
      ...headers,
    },
    body: JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: await response.text() };
}

/** Sends a body of a sequence in process. */
const add = ({ model }: StatefulModel, sequence: string, body: object = { add: 1 }): Promise<Told> =>
  model.predict(body, { sequence: { id: sequence } }) as Promise<Told>;

const refusal = { code: 'SEQUENCE_REFUSED', status: 503 };

describe.each(LANGUAGES)('sequences of a handler in %s', (language) => {
  it('are told apart, kept in order, and continued over HTTP and in process', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    expect(JSON.parse((await post(served, { add: 2 }, 'a')).body)).toEqual({
      sequence: 'a',
      sum: 2,
      batch: 1,
      start: null,
      end: null,
    });
    const { body, headers } = await post(served, { add: 3 }, 'a', { ts_request_sequence_end: 'true' });
    if (language === 'python')
      expect(body).toBe(
        '{\n  "sequence": "a",\n  "sum": 5,\n  "batch": 1,\n  "start": null,\n  "end": "true"\n}',
      );
    expect(JSON.parse(body)).toMatchObject({ sum: 5, end: 'true' });
    expect(headers.has('ts_request_sequence_id')).toBe(false);
    const { model } = served;
    const step = { id: 'in process', start: true };
    expect(await model.predict({ add: 1 }, { sequence: step })).toMatchObject({ start: 'true', sum: 1 });
    expect(await model.predict({ add: 1 }, { sequence: { ...step, start: false, end: true } })).toMatchObject(
      {
        sequence: 'in process',
        start: null,
        end: 'true',
        sum: 2,
      },
    );
  });

  it('live in one worker each, with at most one request of each in a batch', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    // The rounds are not waited for, so that every sequence has requests in its queue.
    const rounds = Array.from({ length: 10 }, (_, round) =>
      ids.map((id) => add(served, id, { add: round, sleep: 0.002 })),
    );
    const answers = await Promise.all(rounds.flat());
    for (const id of ids) {
      const sums = answers.filter(({ sequence }) => sequence === id).map(({ sum }) => sum);
      expect(sums).toEqual([0, 1, 3, 6, 10, 15, 21, 28, 36, 45]);
    }
    const sizes = answers.map(({ batch }) => batch);
    // Eight sequences in two workers.
    expect([Math.max(...sizes), served.runtime.queue().pendingRequests]).toEqual([4, 0]);
  });

  it('are begun for a request that names none', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    const first = JSON.parse((await post(served, { add: 1 })).body) as Told;
    expect(first).toMatchObject({ start: 'true', sum: 1 });
    expect(first.sequence).toMatch(/^ts-seq-[0-9a-f-]{36}$/);
    const second = JSON.parse((await post(served, { add: 1 }, '')).body) as Told;
    expect(second.sequence).not.toBe(first.sequence);
    expect(JSON.parse((await post(served, { add: 1 }, first.sequence)).body)).toMatchObject({
      start: null,
      sum: 2,
    });
  });

  it('are refused beyond maxNumSequence, until one is quiet for too long or over', async () => {
    const served = await app.serve('sequence', language, [
      ...CONFIG,
      'minWorkers: 1',
      'maxWorkers: 1',
      'maxNumSequence: 2',
      'sequenceMaxIdleMSec: 300',
    ]);
    await add(served, 'a');
    await add(served, 'b');
    await expect(add(served, 'c')).rejects.toMatchObject(refusal);
    const { status, body } = await post(served, {}, 'c');
    expect([status, JSON.parse(body)]).toEqual([
      503,
      {
        code: 503,
        type: 'ServiceUnavailableException',
        message: expect.stringContaining(
          'If this is a sequence inference, please check if it is closed',
        ) as string,
      },
    ]);
    expect(await add(served, 'b', { add: 1, over: ['b'] })).toMatchObject({ sum: 2 });
    expect(await add(served, 'c')).toMatchObject({ sum: 1 });
    let told: Told | undefined;
    await expect(add(served, 'd')).rejects.toMatchObject(refusal);
    // By then a and c are over.
    for (; told === undefined; await sleep(20)) told = await add(served, 'd').catch(() => undefined);
    expect(told).toMatchObject({ sum: 1 });
  });

  it('have a queue each, whose requests keep their deadlines and can be cancelled', async () => {
    const served = await app.serve('sequence', language, [...CONFIG, 'maxSequenceJobQueueSize: 2']);
    const first = add(served, 'a', { add: 1, sleep: 0.5 });
    await until(() => served.runtime.queue().pendingRequests === 0);
    const late = served.model.predict({ add: 10 }, { sequence: { id: 'a' }, deadlineMs: 50 });
    const caller = new AbortController();
    const left = served.model.predict({ add: 100 }, { sequence: { id: 'a' }, signal: caller.signal });
    await expect(add(served, 'a')).rejects.toMatchObject(refusal);
    caller.abort();
    await expect(left).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });
    await expect(late).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    const next = add(served, 'a');
    // Another one is not held up.
    expect(await add(served, 'b')).toMatchObject({ sum: 1 });
    expect([(await first).sum, (await next).sum]).toEqual([1, 2]);
  });

  it('share the failure of their batch, and go on', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    await add(served, 'a');
    await expect(add(served, 'a', { fail: true })).rejects.toMatchObject({ code: 'PREDICTION_FAILED' });
    expect(await add(served, 'a')).toMatchObject({ sum: 2 });
  });

  it('end with a worker that is killed, with those of its requests that wait', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    await add(served, 'a');
    await add(served, 'b');
    const [first] = served.runtime.workers();
    const outcomes = Promise.allSettled([
      add(served, 'a', { add: 1, sleep: 10 }),
      add(served, 'a'),
      add(served, 'b', { add: 1, sleep: 0.05 }),
    ]);
    await until(() => served.runtime.queue().pendingRequests === 1);
    execFileSync('kill', ['-9', String(first?.pid)]);
    expect(await outcomes).toMatchObject([
      { reason: { code: killed(language), status: 507 } },
      { reason: { code: killed(language), status: 507 } },
      { value: { sum: 2 } },
    ]);
    // What the dead one knew is gone; the other one's sequence is not.
    expect(await add(served, 'a')).toMatchObject({ sum: 1 });
    expect(await add(served, 'b')).toMatchObject({ sum: 3 });
    await until(() => served.runtime.status().readyWorkers === 2);
    expect(served.runtime.workers()[0]?.pid).not.toBe(first?.pid);
  });

  it('keep a worker that is scaled away until they are over, and get no others there', async () => {
    const served = await app.serve('sequence', language, [...CONFIG, 'sequenceMaxIdleMSec: 400']);
    await add(served, 'a');
    // The second one of two idle workers.
    await add(served, 'b');
    const pids = served.runtime.workers().map(({ pid }) => pid);
    const scaled = served.runtime.scale(1, 1);
    await until(() => served.runtime.workers().length === 1);
    expect((await Promise.all(['a', 'b', 'c'].map((id) => add(served, id)))).map(({ sum }) => sum)).toEqual([
      2, 2, 1,
    ]);
    await scaled;
    expect(() => process.kill(pids[1] ?? 0, 0)).toThrow();
    expect(await add(served, 'b')).toMatchObject({ sum: 1 });
  });

  it('answer what was accepted, and hold nothing up, when their model is scaled to none or unregistered', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    await add(served, 'a');
    const accepted = Promise.all([add(served, 'a', { add: 1, sleep: 0.1 }), add(served, 'a')]);
    await served.runtime.scale(0, 0);
    expect((await accepted).map(({ sum }) => sum)).toEqual([2, 3]);
    await expect(add(served, 'a')).rejects.toMatchObject({ code: 'NO_WORKER' });
    await served.runtime.scale(1, 1);
    expect(await add(served, 'a')).toMatchObject({ sum: 1 });
    const last = Promise.all([add(served, 'a', { add: 1, sleep: 0.1 }), add(served, 'a')]);
    await app.clear();
    expect((await last).map(({ sum }) => sum)).toEqual([2, 3]);
  });

  it('may have any id that fits into a header, but for control characters and endless ones', async () => {
    const served = await app.serve('sequence', language, CONFIG);
    const odd = ['__proto__', 'constructor', 'a b; c="d"', 'x'.repeat(1024)];
    for (const id of odd) {
      expect(JSON.parse((await post(served, { add: 1 }, id)).body)).toMatchObject({ sequence: id, sum: 1 });
      expect(await add(served, id)).toMatchObject({ sequence: id, sum: 2 });
    }
    for (const id of ['y'.repeat(1025), 'z'.repeat(10_000)])
      expect(await post(served, { add: 1 }, id)).toMatchObject({
        status: 400,
        body: expect.stringContaining('1 to 1024 characters') as string,
      });
    for (const id of ['', 'a\nurl_path\nx', 'a\0', 'w'.repeat(2000), 7 as unknown as string])
      await expect(add(served, id)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    expect(await add(served, 'sound')).toMatchObject({ sum: 1 });
  });
});

describe('a model with sequences', () => {
  it('describes itself while every sequence is taken', async () => {
    const served = await app.serve('sequence', 'javascript', [...CONFIG, 'maxNumSequence: 1']);
    await add(served, 'a');
    expect(await served.runtime.describe([])).toBeInstanceOf(Object);
    expect(await add(served, 'a')).toMatchObject({ sum: 2 });
  });

  it('loses no worker that has sequences when the load asks for fewer', async () => {
    const served = await app.serve('sequence', 'javascript', CONFIG, 'scaleDownIdleSec: 1');
    await add(served, 'a');
    await add(served, 'b');
    await served.runtime.scale(1, 2);
    await sleep(2500);
    expect(served.runtime.workers()).toHaveLength(2);
    await add(served, 'b', { add: 1, over: ['b'] });
    await until(() => served.runtime.workers().length === 1);
    expect(await add(served, 'a')).toMatchObject({ sum: 2 });
  });

  it('lets nothing wait with useJobTicket', async () => {
    const served = await app.serve('sequence', 'javascript', [...CONFIG, 'useJobTicket: true']);
    const running = ['a', 'b'].map((id) => add(served, id, { add: 1, sleep: 0.3 }));
    await expect(add(served, 'c')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    expect((await Promise.all(running)).map(({ sum }) => sum)).toEqual([1, 1]);
    expect(await add(served, 'c')).toMatchObject({ sum: 1 });
  });

  it('takes tensors for its model without a sequence, for which no place has to be free', async () => {
    await app.packModel([...CONFIG, 'maxNumSequence: 1']);
    const { url, registry } = app;
    await registry.register({ url: 'tensors.mar', synchronous: true });
    const inputs = [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: Array(128).fill(0.5) }];
    const ask = () =>
      fetch(`${url}/v2/models/tensors/infer`, { method: 'POST', body: JSON.stringify({ inputs }) });
    const answers = await Promise.all([ask(), ask(), ask()]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  it('is not registered when they would never end', async () => {
    await expect(app.serve('sequence', 'javascript', ['sequenceBatching: true'])).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('sequenceMaxIdleMSec') as string,
    });
  });

  it('is the only one that takes a sequence from the application', async () => {
    const served = await app.serve('sequence', 'javascript', ['minWorkers: 1', 'maxWorkers: 1']);
    await expect(add(served, 'a')).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    // Over HTTP it is a header like any other.
    expect(await post(served, { add: 1 }, 'a')).toMatchObject({ status: 200 });
  });
});

describe.each(LANGUAGES)('the headers that tell a handler in %s about sequences', (language) => {
  it('can have other names', async () => {
    const other = await statefulApp({ sequenceIdHeader: 'X-Session', sequenceEndHeader: 'X-Over' });
    const { url } = await other.serve('sequence', language, [...CONFIG, 'maxNumSequence: 2']);
    const ask = async (headers: Record<string, string>) => {
      const body = '{ "add": 1 }';
      // fetch would write all names in small letters.
      const answer = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
        const options = { method: 'POST', headers: { 'content-type': 'application/json', ...headers } };
        request(url, options, resolve).on('error', reject).end(body);
      });
      return JSON.parse(await text(answer)) as Told;
    };
    const answers = [await ask({ 'X-Session': 'a' }), await ask({ 'X-Session': 'a', 'X-Over': 'true' })];
    expect(answers).toMatchObject([
      { sequence: 'a', sum: 1 },
      { sequence: 'a', sum: 2 },
    ]);
    // In exactly this letter case, because that is how handlers look headers up.
    expect(await ask({ 'x-session': 'a' })).toMatchObject({ sum: 1, start: 'true' });
    await other.close();
  });
});

describe.skipIf(!LANGUAGES.includes('python' as never))(
  "the stateful archive of TorchServe's recordings",
  () => {
    it('answers as recorded', async () => {
      copyFileSync(fixture('torchserve-store/stateful.mar'), join(app.store, 'stateful.mar'));
      await app.registry.register({ url: 'stateful.mar', synchronous: true });
      const ask = async (body: string, headers: Record<string, string> = {}) => {
        const options = { method: 'POST', headers: { 'content-type': 'text/plain', ...headers }, body };
        const response = await fetch(`${app.url}/predictions/stateful`, options);
        return `${response.status} ${await response.text()}`;
      };
      const id = { ts_request_sequence_id: 'http-1' };
      expect(await ask('1', id)).toBe('200 1');
      expect(await ask('2', id)).toBe('200 3');
      expect(await ask('3', { ...id, ts_request_sequence_end: 'true' })).toBe('200 6');
      expect(await ask('4')).toBe('200 4');
      expect(await ask('5', { ts_request_sequence_id: 'never-started' })).toBe('200 5');
    });
  },
);
