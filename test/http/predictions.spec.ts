import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError, type RawInput } from '#libs/common';
import type { PredictionRequest } from '#libs/inference';
import { answer, edgeApp, parametersOf, type EdgeApp, type EdgeOptions } from './edge-app.js';

let edge: EdgeApp;
afterEach(() => edge.close());

async function serve(options: EdgeOptions = {}): Promise<EdgeApp> {
  edge = await edgeApp(options);
  return edge;
}

/** Serves a model that keeps what it was asked. */
async function serveRecorder(options: EdgeOptions = {}): Promise<PredictionRequest[]> {
  const requests: PredictionRequest[] = [];
  const predict = (request: PredictionRequest) =>
    Promise.resolve(answer('ok')).finally(() => requests.push(request));
  await serve({ predict, ...options });
  return requests;
}

const post = (path: string, body: BodyInit = 'x', headers: Record<string, string> = {}) =>
  fetch(edge.url + path, { method: 'POST', body, headers });
const headersOf = ({ input }: PredictionRequest) => {
  const lines = (input as RawInput).headers.split('\n');
  return Object.fromEntries(lines.flatMap((line, at) => (at % 2 === 0 ? [[line, lines[at + 1]]] : [])));
};

describe('a prediction', () => {
  it.each([
    ['application/json', '{broken'],
    ['text/plain', 'text'],
    ['image/png', '\x89PNG\r\n\x00\xff'],
    ['nonsense', 'x'],
    ['', 'x'],
    ['application/json', ''],
  ])('reaches the handler with its bytes as they are: %s', async (contentType, body) => {
    const requests = await serveRecorder();
    const response = await post('/predictions/m', Buffer.from(body, 'latin1'), {
      'content-type': contentType,
    });
    expect(response.status).toBe(200);
    expect(requests.map(parametersOf)).toEqual([{ body }]);
    expect(requests.map(({ input }) => (input as RawInput).parameters[0]?.contentType)).toEqual([
      contentType,
    ]);
  });

  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'POST'])(
    'is made by %s, also without a body',
    async (method) => {
      const requests = await serveRecorder();
      const response = await fetch(`${edge.url}/predictions/m`, { method });
      expect([response.status, await response.text()]).toEqual([200, method === 'HEAD' ? '' : 'ok']);
      expect(requests.map(parametersOf)).toEqual([{ body: '' }]);
    },
  );

  it('is made by GET and TRACE with a body', async () => {
    const requests = await serveRecorder();
    for (const method of ['GET', 'TRACE']) {
      await edge.exchange(`${method} /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc`);
    }
    expect(requests.map(parametersOf)).toEqual([{ body: 'abc' }, { body: 'abc' }]);
  });

  it('is not made by OPTIONS, which describes the model, so that a preflight runs none', async () => {
    const requests = await serveRecorder();
    for (const path of [
      '/predictions/m',
      '/explanations/m/2.0',
      '/models/m/invoke',
      '/v1/models/m:predict',
    ]) {
      const response = await fetch(edge.url + path, { method: 'OPTIONS' });
      expect(await response.json()).toMatchObject({ info: { title: 'RESTful API for: m' } });
    }
    expect((await fetch(`${edge.url}/predictions/nosuch`, { method: 'OPTIONS' })).status).toBe(404);
    expect(requests).toEqual([]);
  });

  it('has the fields of a multipart form as parameters', async () => {
    const requests = await serveRecorder();
    const form = new FormData();
    form.set('data', new Blob(['bytes'], { type: 'image/png' }), 'x.png');
    form.set('field', 'text');
    await post('/predictions/m', form);
    expect(requests.map(parametersOf)).toEqual([{ data: 'bytes', field: 'text' }]);
  });

  it.each([
    ['/predictions/m', { explain: 'False', url_path: '' }, '1.0'],
    ['/predictions/m/2.0', { explain: 'False', url_path: '' }, '2.0'],
    ['/predictions/m/2.0/a/b%20c?q=1', { explain: 'False', url_path: 'a/b c' }, '2.0'],
    ['/predictions/m%2F2.0%2Fa', { explain: 'False', url_path: 'a' }, '2.0'],
    ['/explanations/m/1.0', { explain: 'True', url_path: '' }, '1.0'],
  ])('of %s is for the version and path that it names', async (path, headers, version) => {
    const requests = await serveRecorder();
    expect((await post(path)).status).toBe(200);
    expect(headersOf(requests[0] as PredictionRequest)).toMatchObject(headers);
    await edge.close();
    await serve();
    expect(await (await post(path)).text()).toBe(version);
  });

  it("keeps the letter case of the client's headers", async () => {
    const requests = await serveRecorder();
    await edge.exchange(
      'POST /predictions/m HTTP/1.1\r\nHost: x\r\nX-CuStOm: 1\r\nContent-Length: 0\r\n\r\n',
    );
    expect(headersOf(requests[0] as PredictionRequest)).toMatchObject({
      'X-CuStOm': '1',
      'Content-Length': '0',
    });
  });
});

describe('a client that says how long it waits', () => {
  const within = (value: string) => post('/predictions/m', 'x', { 'x-request-timeout-ms': value });

  it('gives the request that deadline, but no more than the model allows', async () => {
    const requests = await serveRecorder();
    expect((await within('60000')).status).toBe(200);
    expect((await post('/predictions/m')).status).toBe(200);
    await edge.close();
    const bounded = await serveRecorder({ clientTimeoutInMills: 20_000 });
    for (const value of ['60000', '10000']) await within(value);
    expect((await post('/predictions/m')).status).toBe(200);
    const deadlines = [...requests, ...bounded].map(({ deadlineMs }) => deadlineMs);
    expect(deadlines[0]).toBeGreaterThan(20_000);
    expect(deadlines[0]).toBeLessThanOrEqual(60_000);
    expect(deadlines[1]).toBeUndefined();
    expect(deadlines[2]).toBeLessThanOrEqual(20_000);
    expect(deadlines[3]).toBeLessThanOrEqual(10_000);
    expect(deadlines[4]).toBeLessThanOrEqual(20_000);
  });

  it.each(['0', '-1', 'soon', '1.5'])('is refused with 400 when it says %s', async (value) => {
    const requests = await serveRecorder();
    const response = await within(value);
    expect(response.status).toBe(400);
    expect(((await response.json()) as { message: string }).message).toContain('x-request-timeout-ms');
    expect(requests).toEqual([]);
  });

  it('is answered 504 in time', async () => {
    await serve({
      predict: ({ deadlineMs }) => Promise.reject(new MarlineError('DEADLINE_EXCEEDED', { deadlineMs })),
    });
    expect((await within('5000')).status).toBe(504);
  });
});

describe('the schedule of the application', () => {
  it('says by the request who goes first and for whom it is', async () => {
    const requests = await serveRecorder({
      schedule: ({ headers }) => ({ priority: 'high', tenant: String(headers['x-team']) }),
    });
    await post('/predictions/m', 'x', { 'x-team': 'a' });
    await post('/v2/models/m/infer', '{}', { 'x-team': 'b' });
    expect(requests.map(({ priority, tenant }) => [priority, tenant])).toEqual([
      ['high', 'a'],
      ['high', 'b'],
    ]);
  });

  it('refuses the request with 500 when it fails, before a body is read', async () => {
    const requests = await serveRecorder({
      schedule: () => {
        throw new TypeError('secret');
      },
    });
    const { text } = await edge.exchange(
      'POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1\.1 500 /);
    expect(text).not.toContain('secret');
    expect(requests).toEqual([]);
  });
});

describe('the answer', () => {
  it("has TorchServe's head: no reason, no content type, no caching, a fresh id", async () => {
    const requests = await serveRecorder();
    const { text } = await edge.exchange(
      'GET /predictions/m HTTP/1.1\r\nHost: x\r\nx-request-id: mine\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 \r\n/);
    expect(text).not.toMatch(/content-type/i);
    expect(text).toContain(`x-request-id: ${requests[0]?.id}\r\n`);
    expect(text).toContain('Pragma: no-cache\r\n');
    expect(text).toContain('Cache-Control: no-cache; no-store, must-revalidate, private\r\n');
    expect(text).toContain('Expires: Thu, 01 Jan 1970 00:00:00 UTC\r\n');
    expect(text).toMatch(/\r\n\r\nok$/);
  });

  it("has the handler's status, phrase and headers in their letter case, but not those of the connection", async () => {
    const headers = [
      ['X-Lab', 'yes'],
      ['Content-Type', 'application/octet-stream'],
      ['Content-Length', '999'],
      ['Connection', 'close'],
      ['Cache-Control', 'public'],
      ['x-request-id', 'mine'],
      ['X-Broken', 'a\r\nSet-Cookie: b'],
      ['not a name', 'x'],
    ] as const;
    await serve({
      predict: () => Promise.resolve(answer('b', { status: 422, reason: 'My\r\nReason', headers })),
    });
    const { text } = await edge.exchange('GET /predictions/m HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 422 My {2}Reason\r\n/);
    expect(text).toContain('X-Lab: yes\r\n');
    expect(text).toContain('Content-Type: application/octet-stream\r\n');
    expect(text).toContain('content-length: 1\r\n');
    expect(text).not.toMatch(/public|mine|Set-Cookie|not a name|999/);
  });

  it.each([0, 99, 100, 600, 1.5, NaN])('is an error when the handler sets the status %d', async (status) => {
    await serve({ predict: () => Promise.resolve(answer('x', { status })) });
    expect(await (await post('/predictions/m')).json()).toMatchObject({
      code: 503,
      message: 'Invalid model predict output',
    });
  });

  it('writes values and tensors of the application as JSON', async () => {
    const output = { kind: 'value', value: { a: [1, 'ü'] } } as const;
    await serve({ predict: () => Promise.resolve(answer('', { output })) });
    expect(await (await post('/predictions/m')).text()).toBe('{\n  "a": [\n    1,\n    "\\u00fc"\n  ]\n}');
    await edge.close();
    const y = { dtype: 'float32', shape: [2], data: new Float32Array([1, 2]) } as const;
    await serve({
      predict: () => Promise.resolve(answer('', { output: { kind: 'tensors', tensors: { y } } })),
    });
    expect(await (await post('/predictions/m')).json()).toEqual({
      outputs: [{ name: 'y', shape: [2], datatype: 'FP32', data: [1, 2] }],
    });
  });

  it('passes the hooks of the host before it goes out', async () => {
    await serve({
      prepare: (fastify) =>
        fastify.addHook('onSend', (_request, reply, payload, done) => {
          reply.header('x-host', String(Buffer.isBuffer(payload)));
          done(null, payload);
        }),
    });
    expect((await post('/predictions/m')).headers.get('x-host')).toBe('true');
  });

  it.each([
    ['/predictions/nosuch', 404, 'Model not found: nosuch'],
    ['/predictions/m/9.9', 404, 'Model version: 9.9 does not exist for model: m'],
    ['/predictions/m%20', 404, 'Model not found: m '],
    [`/predictions/${'n'.repeat(90)}`, 404, `Model not found: ${'n'.repeat(90)}`],
  ])('of %s is %d', async (path, code, message) => {
    await serve();
    const response = await post(path);
    expect(response.status).toBe(code);
    expect(response.headers.get('content-type')).toBe('application/json');
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ code, message });
    expect(text).toMatch(/^\{\n {2}"code": 404,\n {2}"type": ".*",\n {2}"message": ".*"\n\}\n$/);
  });

  it.each([
    ['/predictions/m', 'Model "m" has no worker'],
    ['/predictions/m/1.0', 'Model "m" Version 1.0" has no worker'],
  ])('of %s without a worker says: %s', async (path, message) => {
    await serve({ predict: () => Promise.reject(new MarlineError('NO_WORKER', { model: 'm' })) });
    const response = await post(path);
    expect(response.status).toBe(503);
    expect(((await response.json()) as { message: string }).message).toContain(message);
  });

  it('of an unknown error tells nothing about it', async () => {
    await serve({ predict: () => Promise.reject(new TypeError('secret /etc/passwd')) });
    const response = await post('/predictions/m');
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({
      code: 500,
      type: 'InternalServerException',
      message: 'Internal error; the log has the cause.',
    });
  });

  it('of a broken multipart body is 400', async () => {
    await serve();
    const response = await post('/predictions/m', '--b\r\nno end', {
      'content-type': 'multipart/form-data; boundary=b',
    });
    expect(response.status).toBe(400);
  });
});

describe('a large body', () => {
  const head = 'POST /predictions/m HTTP/1.1\r\nHost: x\r\n';

  it('is refused with an empty 413 before it is sent, and the connection stays', async () => {
    await serve({ maxRequestSize: 10 });
    const { text, closed } = await edge.exchange(`${head}Content-Length: 11\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 413 .*\r\n/);
    expect(text).toMatch(/content-length: 0\r\n/);
    expect(text).toMatch(/\r\n\r\n$/);
    expect(closed).toBe(false);
  });

  it('is refused with 413 and the end of the connection when its length is not declared', async () => {
    await serve({ maxRequestSize: 10 });
    const { text, closed } = await edge.exchange(
      `${head}Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
    expect(closed).toBe(true);
  });

  it('of exactly the limit is taken, whole and in chunks of one byte', async () => {
    const size = 300_000;
    const requests = await serveRecorder({ maxRequestSize: size });
    const bytes = Buffer.alloc(size, 'a');
    expect((await post('/predictions/m', bytes)).status).toBe(200);
    const { text } = await edge.exchange(
      `${head}Transfer-Encoding: chunked\r\n\r\n${'1\r\na\r\n'.repeat(size)}0\r\n\r\n`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(requests.map((request) => parametersOf(request)['body']?.length)).toEqual([size, size]);
  });

  it.each([1, 65_535, 65_536, 65_537, 300_000, 1_048_576, 2_500_000])(
    'of %d bytes is the same however it arrives, and not mixed up with others',
    async (size) => {
      const requests = await serveRecorder({ maxRequestSize: 3_000_000 });
      const bodies = ['a', 'b', 'c'].map((letter) => Buffer.alloc(size, letter));
      for (let round = 0; round < 2; round++)
        await Promise.all(bodies.map(async (body) => (await post('/predictions/m', body)).text()));
      for (const body of bodies) {
        const socket = connect(edge.port, '127.0.0.1');
        socket.write(`${head}Connection: close\r\nContent-Length: ${size}\r\n\r\n`);
        for (let at = 0; at < size; at += 40_000) {
          await new Promise((resolve) => socket.write(body.subarray(at, at + 40_000), resolve));
        }
        await once(socket.resume(), 'close');
      }
      const found = requests.map((request) => parametersOf(request)['body'] ?? '').toSorted();
      expect(found.map((text) => text.length)).toEqual(Array(9).fill(size));
      expect(found.every((text, at) => text === 'abc'.charAt(Math.floor(at / 3)).repeat(size))).toBe(true);
    },
  );

  it('is not read when its model is unknown or has no room', async () => {
    await serve({ remainingCapacity: 0 });
    const large = 'Content-Length: 900000\r\n\r\n';
    expect((await edge.exchange(`POST /predictions/nosuch HTTP/1.1\r\nHost: x\r\n${large}`)).text).toMatch(
      /^HTTP\/1\.1 404 /,
    );
    expect((await edge.exchange(head + large)).text).toMatch(/^HTTP\/1\.1 503 /);
  });

  it('that ends early makes no prediction', async () => {
    let aborted = () => {};
    const abort = new Promise<void>((resolve) => (aborted = resolve));
    const requests = await serveRecorder({
      prepare: (fastify) => fastify.addHook('onRequestAbort', async (_request) => aborted()),
    });
    const socket = connect(edge.port, '127.0.0.1', () => {
      socket.write(`${head}Content-Length: 100\r\n\r\nhalf`, () => socket.destroy());
    });
    await abort;
    expect((await post('/predictions/m')).status).toBe(200);
    expect(requests.map(parametersOf)).toEqual([{ body: 'x' }]);
  });
});

describe('ping', () => {
  it.each(['GET', 'POST', 'DELETE', 'OPTIONS'])('answers %s, whatever stands behind it', async (method) => {
    await serve();
    for (const path of ['/ping', '/ping?x=1', '/ping/more/yet']) {
      const response = await fetch(edge.url + path, { method });
      expect([response.status, await response.text()]).toEqual([200, '{\n  "status": "Healthy"\n}\n']);
    }
  });

  it('is healthy while a worker starts or starts again, and not when a model has given up', async () => {
    for (const [status, code] of [
      ['starting', 200],
      ['unavailable', 200],
      ['stopped', 200],
      ['failed', 500],
    ] as const) {
      await serve({ status });
      const response = await fetch(`${edge.url}/ping`);
      expect([status, response.status, await response.json()]).toEqual([
        status,
        code,
        { status: code === 200 ? 'Healthy' : 'Unhealthy' },
      ]);
      if (status !== 'failed') await edge.close();
    }
  });
});
