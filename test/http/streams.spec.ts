import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import type { PredictionAnswer, PredictionRequest } from '#libs/inference';
import { answer, edgeApp, item, type EdgeApp, type EdgeOptions } from './edge-app.js';

let edge: EdgeApp;
afterEach(() => edge.close());

async function serve(options: EdgeOptions): Promise<void> {
  edge = await edgeApp(options);
}

const get = () => fetch(`${edge.url}/predictions/m`);

describe('a client that leaves', () => {
  it('has its request cancelled, and nobody else has', async () => {
    const signals: AbortSignal[] = [];
    const arrived: (() => void)[] = [];
    const predict = ({ signal }: PredictionRequest): Promise<PredictionAnswer> => {
      signals.push(signal as AbortSignal);
      arrived.splice(0).forEach((resolve) => resolve());
      if (signals.length > 1) return Promise.resolve(answer('ok'));
      return new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => reject(new MarlineError('REQUEST_CANCELLED')));
      });
    };
    await serve({ predict });
    const underWay = new Promise<void>((resolve) => arrived.push(resolve));
    const socket = connect(edge.port, '127.0.0.1');
    socket.write('GET /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n');
    await underWay;
    const cancelled = once(signals[0] as AbortSignal, 'abort');
    socket.destroy();
    await cancelled;
    await (await get()).text();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  });
});

describe('a stream', () => {
  const streaming = (rest: () => AsyncGenerator<ReturnType<typeof item>>): Promise<PredictionAnswer> =>
    Promise.resolve({
      streaming: true,
      first: item('one ', {
        status: 202,
        headers: [
          ['ts_stream_next', 'true'],
          ['X-Lab', '1'],
        ],
      }),
      rest: rest(),
    });

  it('sends one chunk per part and says so', async () => {
    await serve({
      predict: () =>
        streaming(async function* () {
          yield item('two ', { status: 500 });
          yield item('');
          yield item('end');
        }),
    });
    const { text } = await edge.exchange('GET /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n');
    const [head = '', body] = text.split(/\r\n\r\n([^]*)/);
    expect(head).toMatch(/^HTTP\/1\.1 202 \r\n/);
    expect(head).toContain('ts_stream_next: true');
    expect(head).toContain('X-Lab: 1');
    expect(head).toContain('Pragma: no-cache');
    expect(head).toMatch(/transfer-encoding: chunked/i);
    expect(head).not.toMatch(/content-type/i);
    expect(body).toBe('4\r\none \r\n4\r\ntwo \r\n3\r\nend\r\n0\r\n\r\n');
  });

  it('goes out part by part', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    await serve({
      predict: () =>
        streaming(async function* () {
          await held;
          yield item('end');
        }),
    });
    const reader = (await get()).body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('one ');
    release();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('end');
  });

  it('that fails after its first part ends the connection', async () => {
    await serve({
      predict: () =>
        streaming(async function* () {
          yield item('two ');
          throw new MarlineError('WORKER_DIED');
        }),
    });
    const { text, closed } = await edge.exchange('GET /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(closed).toBe(true);
    expect(text).not.toContain('0\r\n\r\n');
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  it('goes no faster than its client reads, and ends when the client leaves', async () => {
    let made = 0;
    let ended = () => {};
    const end = new Promise<void>((resolve) => (ended = resolve));
    await serve({
      predict: () =>
        streaming(async function* () {
          try {
            for (; made < 10_000; made++) yield item('x'.repeat(64 * 1024));
          } finally {
            ended();
          }
        }),
    });
    const client = httpRequest(`${edge.url}/predictions/m`, { agent: false }).end();
    const [response] = (await once(client, 'response')) as [NodeJS.ReadableStream];
    response.pause();
    // The producer is stuck when a second look finds it where the first one did.
    for (let before = -1; before !== made;) {
      before = made;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(made).toBeLessThan(1000);
    client.destroy();
    await end;
  });
});
