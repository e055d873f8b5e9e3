import { afterEach, describe, expect, it, vi } from 'vitest';
import { MarlineError, VERSION, type ProtocolInput } from '#libs/common';
import type { PredictionAnswer, PredictionRequest } from '#libs/inference';
import { answer, edgeApp, type EdgeApp, type EdgeOptions } from './edge-app.js';

let edge: EdgeApp;
afterEach(() => edge.close());

async function serve(options: EdgeOptions = {}): Promise<EdgeApp> {
  edge = await edgeApp(options);
  return edge;
}

/** Serves a model that keeps what it was asked. */
async function serveRecorder(options: EdgeOptions = {}, result = answer('{}')): Promise<PredictionRequest[]> {
  const requests: PredictionRequest[] = [];
  const predict = (request: PredictionRequest): Promise<PredictionAnswer> =>
    Promise.resolve(result).finally(() => requests.push(request));
  await serve({ predict, ...options });
  return requests;
}

const infer = (
  body: BodyInit = '{"inputs":[]}',
  headers: Record<string, string> = {},
  path = '/v2/models/m/infer',
) =>
  fetch(edge.url + path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
const inputOf = (request?: PredictionRequest) => request?.input as ProtocolInput;
const textOf = (request?: PredictionRequest) => Buffer.from(inputOf(request).body).toString();

describe('infer', () => {
  it.each(['{"inputs":[]}', '{broken', '', '\xff\x00'])('hands the body over as it is: %j', async (body) => {
    const requests = await serveRecorder();
    expect((await infer(Buffer.from(body, 'latin1'))).status).toBe(200);
    expect(requests.map(({ input }) => input.kind)).toEqual(['protocol']);
    expect(Buffer.from(inputOf(requests[0]).body).toString('latin1')).toBe(body);
    expect(inputOf(requests[0]).jsonBytes).toBeUndefined();
  });

  it('tells where the JSON ends when binary tensors stand behind it', async () => {
    const requests = await serveRecorder();
    const headers = {
      'content-type': 'application/octet-stream',
      'Inference-Header-Content-Length': '13',
    };
    expect((await infer('{"inputs":[]}\x01\x02', headers)).status).toBe(200);
    expect(inputOf(requests[0]).jsonBytes).toBe(13);
    expect(textOf(requests[0])).toBe('{"inputs":[]}\x01\x02');
  });

  it.each(['-1', '1.5', '14', '9'.repeat(30), 'x', ''])(
    'refuses %j as the length of the JSON in a body of 13 bytes',
    async (length) => {
      const requests = await serveRecorder();
      const response = await infer('{"inputs":[]}', { 'inference-header-content-length': length });
      expect(response.status).toBe(400);
      expect(await response.json()).toEqual({
        error: expect.stringContaining('Inference-Header-Content-Length'),
      });
      expect(requests).toEqual([]);
    },
  );

  it('asks the version in the path, else the default', async () => {
    await serve();
    expect(await (await infer()).text()).toBe('1.0');
    expect(await (await infer('{}', {}, '/v2/models/m/versions/2.0/infer')).text()).toBe('2.0');
  });

  it("has the worker's headers, an id, and nothing that only TorchServe's routes have", async () => {
    const headers = [['Inference-Header-Content-Length', '2'] as const];
    await serveRecorder({}, answer('{}xy', { headers }));
    const { text } = await edge.exchange(
      'POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}',
    );
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).toContain('Inference-Header-Content-Length: 2\r\n');
    expect(text).toMatch(/\r\nx-request-id: [\da-f-]{36}\r\n/);
    expect(text).not.toMatch(/pragma|cache-control|expires/i);
    expect(text).toMatch(/\r\n\r\n\{\}xy$/);
  });

  it('says that an answer is JSON, without a charset, as text and as bytes', async () => {
    for (const output of [
      { kind: 'text', text: '{"a":"ü"}', encoding: 'json' },
      { kind: 'bytes', bytes: Buffer.from('{"a":"ü"}'), encoding: 'json' },
    ] as const) {
      await serveRecorder({}, answer('', { output }));
      const response = await infer();
      expect(response.headers.get('content-type')).toBe('application/json');
      expect(await response.text()).toBe('{"a":"ü"}');
      await edge.close();
    }
    await serve();
  });

  it('never parses a body on the main thread, however large', async () => {
    const requests = await serveRecorder({ maxRequestSize: 4_000_000 });
    const data = Array.from({ length: 400_000 }, () => 0.1234);
    const body = JSON.stringify({
      inputs: [{ name: 'x', shape: [1, data.length], datatype: 'FP32', data }],
    });
    const parse = vi.spyOn(JSON, 'parse');
    const toString = vi.spyOn(Buffer.prototype, 'toString');
    try {
      expect((await infer(body)).status).toBe(200);
      expect(parse.mock.calls.filter(([text]) => text.length > 1000)).toEqual([]);
      expect(toString.mock.contexts.filter(({ length }) => length > 100_000)).toEqual([]);
    } finally {
      parse.mockRestore();
      toString.mockRestore();
    }
    expect(textOf(requests[0]) === body).toBe(true);
  });
});

describe("a model that is served by TorchServe's ways", () => {
  const WAYS: EdgeOptions[] = [{ runsPython: true }, { envelope: 'kservev2' }, { serializedFile: 'm.bin' }];

  it.each(WAYS)('gives its handler the body as it is, whatever the method: %j', async (way) => {
    const requests = await serveRecorder(way);
    expect((await infer('{"inputs":[]}')).status).toBe(200);
    expect((await fetch(`${edge.url}/v2/models/m/infer`)).status).toBe(200);
    expect(requests.map(({ input }) => input.kind)).toEqual(['raw', 'raw']);
  });

  it.each(WAYS)('answers errors as TorchServe: %j', async (way) => {
    await serve({ ...way, predict: () => Promise.reject(new MarlineError('NO_WORKER', { model: 'm' })) });
    const response = await infer();
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 503, type: 'ServiceUnavailableException' });
  });

  it("may be missing where all handlers are behind the envelope, and is missed in TorchServe's words", async () => {
    await serve({ envelope: 'kservev2' });
    const response = await infer('{}', {}, '/v2/models/nosuch/infer');
    expect(await response.json()).toMatchObject({ code: 404, message: 'Model not found: nosuch' });
  });
});

describe('an error of the protocol', () => {
  it.each(['GET', 'PUT', 'DELETE'])('is 405 for tensors by %s', async (method) => {
    await serve();
    const response = await fetch(`${edge.url}/v2/models/m/infer`, { method });
    expect(response.status).toBe(405);
    expect(await response.json()).toEqual({ error: expect.any(String) });
  });

  it.each([
    ['INVALID_INPUT', { reason: 'Input "x" is missing.' }, 400, 'Input "x" is missing.'],
    ['NO_WORKER', { model: 'm' }, 503, 'has no worker that could serve'],
    ['DEADLINE_EXCEEDED', { deadlineMs: 5 }, 504, 'deadline of 5 ms'],
    ['PREDICTION_FAILED', {}, 503, 'Prediction failed'],
    ['INTERNAL', { reason: 'secret' }, 500, 'Internal error; the log has the cause.'],
  ] as const)('%s is { "error": … }', async (code, details, status, text) => {
    await serve({ predict: () => Promise.reject(new MarlineError(code, details)) });
    const response = await infer();
    expect(response.status).toBe(status);
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.headers.has('retry-after')).toBe(false);
    expect(await response.json()).toEqual({ error: expect.stringContaining(text) });
  });

  it.each([
    ['QUEUE_FULL', {}, '1'],
    ['OVERLOADED', { deadlineMs: 9, expectedMs: 90, retryAfterMs: 30 }, '1'],
    ['OVERLOADED', { deadlineMs: 9, expectedMs: 90, retryAfterMs: 2500 }, '3'],
    ['OVERLOADED', { deadlineMs: 9, expectedMs: 90, retryAfterMs: NaN }, '1'],
  ] as const)('%s %j is 429 with Retry-After: %s', async (code, details, seconds) => {
    const error = new MarlineError(code, { model: 'm', ...details });
    await serve({ predict: () => Promise.reject(error) });
    const response = await infer('{}', {}, '/v2/models/m/versions/1.0/infer');
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, seconds]);
    expect(await response.json()).toEqual({ error: error.message });
    const torchServes = await fetch(`${edge.url}/predictions/m`, { method: 'POST', body: 'x' });
    expect([torchServes.status, torchServes.headers.has('retry-after')]).toEqual([503, false]);
    expect(await torchServes.text()).toContain('has no worker to serve inference request.');
  });

  it.each([
    ['/v2/models/nosuch', 'GET', 404],
    ['/v2/models/nosuch/ready', 'GET', 404],
    ['/v2/models/nosuch/infer', 'POST', 404],
    ['/v2/models/m/versions/9/infer', 'POST', 404],
    ['/v2/models/m/versions/9', 'GET', 404],
  ])('of %s names what is not there', async (path, method, status) => {
    await serve();
    const response = await fetch(edge.url + path, { method });
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ error: expect.stringMatching(/nosuch|9/) });
  });

  it('is 413 before a body is read, and 429 when there is no room for a large one', async () => {
    const requests = await serveRecorder({ maxRequestSize: 10 });
    const head = 'POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n';
    const declared = await edge.exchange(`${head}Content-Length: 500000\r\n\r\n`);
    expect(declared.text).toMatch(
      /^HTTP\/1\.1 413 [^]*\r\n\r\n\{"error":"The request body exceeds 10 bytes\."\}$/,
    );
    const chunked = await edge.exchange(
      `${head}Transfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n6\r\n123456\r\n`,
    );
    expect(chunked.text).toMatch(/^HTTP\/1\.1 413 /);
    expect(chunked.closed).toBe(true);
    await edge.close();
    await serve({ remainingCapacity: 0 });
    expect((await edge.exchange(`${head}Content-Length: 900000\r\n\r\n`)).text).toMatch(/^HTTP\/1\.1 429 /);
    expect(requests).toEqual([]);
  });
});

describe('what a client asks before', () => {
  const get = async (path: string) => {
    const response = await fetch(edge.url + path);
    return [response.status, await response.json()];
  };

  it('tells the server, its health, and the model with its inputs and outputs', async () => {
    await serve();
    expect(await get('/v2')).toEqual([
      200,
      { name: 'Marline', version: VERSION, extensions: ['binary_tensor_data'] },
    ]);
    expect(await get('/v2/health/live')).toEqual([200, { live: true }]);
    expect(await get('/v2/health/ready')).toEqual([200, { ready: true }]);
    expect(await get('/v2/models/m/ready')).toEqual([200, { name: 'm', ready: true }]);
    expect(await get('/v2/models/m/versions/2.0/ready')).toEqual([200, { name: 'm', ready: true }]);
    const metadata = {
      name: 'm',
      versions: ['1.0', '2.0'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 128] }],
      outputs: [{ name: 'label', datatype: 'BYTES', shape: [1] }],
    };
    expect(await get('/v2/models/m')).toEqual([200, metadata]);
    expect(await get('/v2/models/m/versions/1.0')).toEqual([200, metadata]);
  });

  it('is 503 while it is not ready, but live', async () => {
    await serve({ status: 'starting' });
    expect(await get('/v2/health/live')).toEqual([200, { live: true }]);
    expect(await get('/v2/health/ready')).toEqual([503, { ready: false }]);
    expect(await get('/v2/models/m/ready')).toEqual([503, { name: 'm', ready: false }]);
  });

  it('is protected by the same guards, as infer is, and lies under the mount', async () => {
    await serve({ guards: [{ canActivate: () => false }], mount: 'ml' });
    for (const path of ['', '/health/live', '/health/ready', '/models/m', '/models/m/ready'])
      expect((await get(`/ml/v2${path}`))[0]).toBe(403);
    expect((await infer('{}', {}, '/ml/v2/models/m/infer')).status).toBe(403);
    expect((await infer()).status).toBe(404);
  });
});
