import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
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

interface Part {
  readonly tag: string;
  readonly part: number;
  /** Number of parameters that the request came with. */
  readonly parameters: number;
  /** The tags of the requests in its batch. */
  readonly batch: readonly string[];
}

const CONFIG = ['minWorkers: 1', 'maxWorkers: 1', 'batchSize: 3', 'continuousBatching: true'];
/** Parts of an answer that ends only when nobody reads it. */
const ENDLESS = 1_000_000;

/** The parts of the answer to a request such as `a:3`, one after the other. */
async function* parts({ model }: StatefulModel, request: string, options = {}): AsyncGenerator<Part> {
  for await (const part of model.stream(request, options)) yield told(part);
}

async function allParts(served: StatefulModel, request: string): Promise<Part[]> {
  const all: Part[] = [];
  for await (const part of parts(served, request)) all.push(part);
  return all;
}

function told(part: unknown): Part {
  return (typeof part === 'string' ? JSON.parse(part.replace(/x+\n$/, '')) : part) as Part;
}

describe.each(LANGUAGES)('continuous batching of a handler in %s', (language) => {
  it('sends a request again, without its parameters, until its answer is complete', async () => {
    const served = await app.serve('parts', language, CONFIG);
    expect(await allParts(served, 'a:3')).toEqual([
      { tag: 'a', part: 1, parameters: 1, batch: ['a'] },
      { tag: 'a', part: 2, parameters: 0, batch: ['a'] },
      { tag: 'a', part: 3, parameters: 0, batch: ['a'] },
    ]);
    expect(await served.model.predict('b:1')).toBeDefined();
  });

  it('answers over HTTP in chunks', async () => {
    const served = await app.serve('parts', language, CONFIG);
    const options = { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'a:2' };
    const response = await fetch(served.url, options);
    const body = await response.text();
    expect([response.status, response.headers.get('ts_stream_next')]).toEqual([200, 'true']);
    if (language === 'python') {
      expect(body).toBe(
        '{"tag": "a", "part": 1, "parameters": 1, "batch": ["a"]}\n{"tag": "a", "part": 2, "parameters": 0, "batch": ["a"]}\n',
      );
    }
    expect(body.trim().split('\n').map(told)).toEqual([
      { tag: 'a', part: 1, parameters: 1, batch: ['a'] },
      { tag: 'a', part: 2, parameters: 0, batch: ['a'] },
    ]);
  });

  it('lets requests join those under way, and leave them', async () => {
    const served = await app.serve('parts', language, CONFIG);
    const long = parts(served, `a:${ENDLESS}`);
    expect((await long.next()).value).toMatchObject({ batch: ['a'] });
    const short = await Promise.all(['b:3', 'c:5', 'd:2'].map((request) => allParts(served, request)));
    expect(short.map((answer) => answer.length)).toEqual([3, 5, 2]);
    // Never more than the batch size, and the first one is always there.
    for (const { batch } of short.flat()) expect([batch[0], batch.length <= 3]).toEqual(['a', true]);
    expect(short[0]?.[0]?.batch).toContain('c');
    expect(short[2]?.at(0)?.batch).not.toContain('b');
    let most = 0;
    for await (const { batch } of long) {
      most = Math.max(most, batch.length);
      if (most === 3 && batch.length === 1) break;
    }
    // Whoever stops reading leaves as well.
    await until(() => served.runtime.workers()[0]?.state === 'idle');
    expect(await allParts(served, 'e:1')).toMatchObject([{ batch: ['e'] }]);
  });

  it('lets go of a client that leaves, by cancelling, by its deadline or by closing its connection', async () => {
    const served = await app.serve('parts', language, CONFIG);
    const caller = new AbortController();
    const cancelled = parts(served, `a:${ENDLESS}`, { signal: caller.signal });
    await cancelled.next();
    const late = parts(served, `b:${ENDLESS}`, { deadlineMs: 200 });
    await late.next();
    // fetch would open another connection in place of the one that it closes, and keep the server waiting for it.
    const client = request(served.url, { method: 'POST', headers: { 'content-type': 'text/plain' } });
    client.end(`c:${ENDLESS}`);
    const [response] = (await once(client, 'response')) as [IncomingMessage];
    await once(response, 'data');
    caller.abort();
    client.destroy();
    await expect(drained(cancelled)).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });
    await expect(drained(late)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await until(() => served.runtime.workers()[0]?.state === 'idle');
    expect(await allParts(served, 'd:1')).toMatchObject([{ batch: ['d'] }]);
  });

  it('fails all of a batch whose handler fails, and goes on with the next', async () => {
    const served = await app.serve('parts', language, CONFIG);
    const stream = parts(served, `a:${ENDLESS}`);
    await stream.next();
    await expect(served.model.predict('fail:1')).rejects.toMatchObject({ code: 'PREDICTION_FAILED' });
    await expect(drained(stream)).rejects.toMatchObject({ code: 'PREDICTION_FAILED' });
    expect(await allParts(served, 'b:2')).toMatchObject([{ batch: ['b'] }, { batch: ['b'] }]);
  });

  it('fails those of a worker that is killed, and goes on in its successor', async () => {
    const served = await app.serve('parts', language, CONFIG);
    const streams = [parts(served, `a:${ENDLESS}`), parts(served, `b:${ENDLESS}`)];
    await Promise.all(streams.map((stream) => stream.next()));
    execFileSync('kill', ['-9', String(served.runtime.workers()[0]?.pid)]);
    for (const stream of streams)
      await expect(drained(stream)).rejects.toMatchObject({ code: killed(language) });
    expect(await allParts(served, 'c:1')).toMatchObject([{ batch: ['c'] }]);
  });

  it('does not wait for a reader who takes nothing, and gives up on one who is too far behind', async () => {
    const served = await app.serve('parts', language, CONFIG);
    const slow = parts(served, 'large:200');
    await slow.next();
    expect(await allParts(served, 'a:40')).toHaveLength(40);
    await until(() => served.runtime.workers()[0]?.state === 'idle');
    await expect(drained(slow)).rejects.toMatchObject({ code: 'OUT_OF_RESOURCES' });
  });

  it('is finished before its worker stops', async () => {
    const served = await app.serve('parts', language, [...CONFIG, 'minWorkers: 2', 'maxWorkers: 2']);
    const answers = ['a', 'b', 'c', 'd'].map((tag) => parts(served, `${tag}:60`));
    await Promise.all(answers.map((answer) => answer.next()));
    const scaled = served.runtime.scale(1, 1);
    const closed = scaled.then(() => app.clear());
    const counts = await Promise.all(answers.map(drained));
    await closed;
    expect(counts).toEqual([59, 59, 59, 59]);
  });

  it('keeps to sequences as well, each with one request at a time', async () => {
    const config = [
      'sequenceBatching: true',
      'sequenceMaxIdleMSec: 60000',
      'maxNumSequence: 3',
      'maxSequenceJobQueueSize: 5',
    ];
    const served = await app.serve('parts', language, [...CONFIG, ...config]);
    const read = async (tag: string, id: string) => {
      const batches: (readonly string[])[] = [];
      for await (const { batch } of parts(served, `${tag}:5`, { sequence: { id } })) batches.push(batch);
      return batches;
    };
    const batches = await Promise.all([read('a1', 'a'), read('a2', 'a'), read('b1', 'b')]);
    expect(batches.map(({ length }) => length)).toEqual([5, 5, 5]);
    expect(batches[0]?.[0]).toEqual(['a1', 'b1']);
    for (const batch of batches.flat()) expect(batch).not.toEqual(expect.arrayContaining(['a1', 'a2']));
  });
});

async function drained(stream: AsyncGenerator): Promise<number> {
  let count = 0;
  for await (const _ of stream) count += 1;
  return count;
}
