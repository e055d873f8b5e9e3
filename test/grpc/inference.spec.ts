import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ended } from '../support/grpc-client.js';
import { bodies, inferenceCall, openGrpc, prediction, type OpenGrpc } from './open-grpc.js';

const CALLS = 1000;
const LARGEST_MESSAGE = 100_000;
const INFERENCE = '/org.pytorch.serve.grpc.inference.InferenceAPIsService';

let served: OpenGrpc;
beforeAll(async () => {
  served = await openGrpc({
    models: ['mlp', 'slow', 'stream', 'faulty'],
    options: { jobQueueSize: 2 * CALLS },
    server: { maxRequestSize: LARGEST_MESSAGE },
  });
});
afterAll(() => served.close());

const predict = (model: string, body: string | Buffer, more = {}) =>
  served.client.call(inferenceCall('Predictions', prediction(model, body, more)));
const values = new Float32Array(128).map((_, at) => Math.sin(at));
const json = JSON.stringify({
  inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: [...values] }],
});

/** Sends bytes as the message of a call, whatever they are. @returns the status in the trailers */
async function sendBytes(path: string, message: Buffer): Promise<number> {
  const session = connectHttp2(`http://127.0.0.1:${served.inferencePort}`);
  const request = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  request.end(Buffer.concat([head, message]));
  request.resume();
  const code = new Promise<number>((resolve) => {
    request.on(
      'response',
      (headers) => headers['grpc-status'] !== undefined && resolve(Number(headers['grpc-status'])),
    );
    request.on('trailers', (trailers) => resolve(Number(trailers['grpc-status'])));
  });
  const found = await code;
  session.destroy();
  return found;
}

describe('Predictions', () => {
  it('has the body that the same request has over HTTP', async () => {
    const answer = await predict('mlp', json);
    const http = await fetch(`${served.url}/predictions/mlp`, { method: 'POST', body: json });
    expect(answer.code).toBe(status.OK);
    expect(bodies(answer)).toEqual([await http.text()]);
  });

  it('joins the parts of a handler that streams', async () => {
    expect(bodies(await predict('stream', '3'))).toEqual(['1.0 1.0 1.0 end']);
  });

  it.each([
    [
      'an unknown model',
      'nosuch',
      '',
      status.INTERNAL,
      'Model not found: nosuch\norg.pytorch.serve.archive.model.ModelNotFoundException',
    ],
    ['no name', '', '', status.INTERNAL, 'Parameter model_name is required.\nBadRequestException.()'],
    [
      'broken input',
      'mlp',
      'no json',
      status.INVALID_ARGUMENT,
      'The request is not valid JSON.\norg.pytorch.serve.http.InternalServerException',
    ],
    [
      'a handler that fails',
      'faulty',
      'throw',
      status.UNAVAILABLE,
      'Prediction failed\norg.pytorch.serve.http.InternalServerException',
    ],
    [
      'a handler that says what is wrong',
      'faulty',
      'prediction-exception',
      status.FAILED_PRECONDITION,
      'no face in the photo\norg.pytorch.serve.http.InternalServerException',
    ],
  ])('answers %s', async (_, model, body, code, details) => {
    expect(await predict(model, body)).toMatchObject({ code, details, messages: [] });
  });

  it('answers a request without input', async () => {
    const { code } = await served.client.call(inferenceCall('Predictions', { model_name: 'mlp' }));
    expect(code).not.toBe(status.OK);
  });

  it('refuses a message above the limit', async () => {
    const { code, details } = await predict('mlp', Buffer.alloc(LARGEST_MESSAGE + 1));
    expect(code).toBe(status.RESOURCE_EXHAUSTED);
    expect(details).toContain(`${LARGEST_MESSAGE}`);
  });

  it('answers bytes that are no message, and goes on', async () => {
    expect(await sendBytes(`${INFERENCE}/Predictions`, Buffer.from([0x0a, 0xff, 0xff, 0x01]))).toBe(
      status.INTERNAL,
    );
    // A number where the name should be.
    expect(await sendBytes(`${INFERENCE}/Predictions`, Buffer.from([0x08, 0x01]))).toBe(status.INTERNAL);
    expect(await sendBytes(`${INFERENCE}/NoSuchCall`, Buffer.alloc(0))).toBe(status.UNIMPLEMENTED);
    expect((await predict('mlp', json)).code).toBe(status.OK);
  });

  it('takes an input of any name', async () => {
    const input = { ['__proto__']: 'AA==', constructor: 'AA==' };
    expect(
      (await served.client.call(inferenceCall('Predictions', { model_name: 'mlp', input }))).code,
    ).not.toBe(status.OK);
    expect((await predict('mlp', json)).code).toBe(status.OK);
  });

  it('answers a thousand calls at once', async () => {
    const answers = await Promise.all(Array.from({ length: CALLS }, () => predict('mlp', json)));
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([status.OK]));
    expect(new Set(answers.flatMap(bodies)).size).toBe(1);
  });
});

describe('a deadline', () => {
  it('is that of the request', async () => {
    const seen = await served.client.call(inferenceCall('Predictions', prediction('slow', '1000')), 50);
    expect(seen.code).toBe(status.DEADLINE_EXCEEDED);
    await until(() => served.registry.get('slow').queue().pendingRequests === 0);
  });

  it('may have passed already', async () => {
    expect((await served.client.call(inferenceCall('Predictions', prediction('mlp', json)), 0)).code).toBe(
      status.DEADLINE_EXCEEDED,
    );
  });
});

describe('a client that leaves', () => {
  it('has its request taken out of the queue', async () => {
    const running = predict('slow', '300');
    const waiting = served.client.open(inferenceCall('Predictions'));
    waiting.write(prediction('slow', '300'));
    waiting.end();
    const queue = () => served.registry.get('slow').queue().pendingRequests;
    await until(() => queue() === 1);
    const over = ended(waiting);
    waiting.cancel();
    expect((await over).code).toBe(status.CANCELLED);
    await until(() => queue() === 0);
    expect((await running).code).toBe(status.OK);
  });
});

describe('StreamPredictions', () => {
  it('has a message for each part', async () => {
    const answer = await served.client.call(inferenceCall('StreamPredictions', prediction('stream', '3')));
    expect(answer.code).toBe(status.OK);
    expect(bodies(answer)).toEqual(['1.0 ', '1.0 ', '1.0 end']);
  });

  it('ends for a client that leaves, and its worker goes on', async () => {
    const call = served.client.open(inferenceCall('StreamPredictions'));
    call.write(prediction('stream', '50'));
    call.end();
    await once(call, 'data');
    const over = ended(call);
    call.cancel();
    expect((await over).code).toBe(status.CANCELLED);
    expect(bodies(await predict('stream', '1'))).toEqual(['1.0 end']);
  });
});

describe('StreamPredictions2', () => {
  it('answers request by request, errors too, in order', async () => {
    const request = (body: string, more = {}) => prediction('slow', body, { sequence_id: 'a', ...more });
    const { code, messages } = await served.client.call(
      inferenceCall(
        'StreamPredictions2',
        request('20'),
        request('1', { model_name: 'nosuch' }),
        request('1', { sequence_id: '' }),
        request('2'),
      ),
    );
    expect(code).toBe(status.OK);
    expect(
      messages.map(
        ({ prediction: body, status: error }) =>
          error ?? JSON.parse(Buffer.from(String(body), 'base64').toString()),
      ),
    ).toMatchObject([
      { ms: 20 },
      { code: status.INTERNAL, message: 'Model not found: nosuch' },
      { code: status.INTERNAL, message: 'Parameter sequenceId is required.' },
      { ms: 2 },
    ]);
  });

  it('survives a client that leaves in the middle', async () => {
    const call = served.client.open(inferenceCall('StreamPredictions2'));
    call.write(prediction('slow', '1', { sequence_id: 'a' }));
    await once(call, 'data');
    const over = ended(call);
    call.cancel();
    expect((await over).code).toBe(status.CANCELLED);
    expect((await predict('slow', '1')).code).toBe(status.OK);
  });
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
