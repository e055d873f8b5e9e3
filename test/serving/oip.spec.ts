import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveApp, type ServedApp } from '../support/serve-app.js';

let served: ServedApp;
beforeAll(async () => {
  // Its own handler answers with a digit; the protocol's tensors go to the model all the same.
  served = await serveApp({ models: ['mlp', 'mnist'], mount: 'ml' });
});
afterAll(() => served.close());

interface Answer {
  readonly id?: string;
  readonly model_name: string;
  readonly model_version: string;
  readonly outputs: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly datatype: string;
    readonly data?: readonly number[];
    readonly parameters?: { readonly binary_data_size?: number };
  }[];
}

const infer = (body: BodyInit, headers: Record<string, string> = {}, path = 'mlp/infer') =>
  fetch(`${served.url}/ml/v2/models/${path}`, { method: 'POST', body, headers });
const values = Array.from({ length: 128 }, (_, at) => Math.fround(Math.sin(at)));
const asJson = (more: object = {}, input: object = {}) =>
  JSON.stringify({
    inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: values, ...input }],
    ...more,
  });

/** A request with its tensor as bytes behind the JSON. */
function asBytes(more: object = {}, bytes = Buffer.from(new Float32Array(values).buffer)) {
  const parameters = { binary_data_size: bytes.length };
  const json = Buffer.from(
    JSON.stringify({
      inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', parameters }],
      ...more,
    }),
  );
  const headers = {
    'content-type': 'application/octet-stream',
    'inference-header-content-length': String(json.length),
  };
  return [Buffer.concat([json, bytes]), headers] as const;
}

describe('the open inference protocol', () => {
  it('answers tensors as JSON with tensors as JSON', async () => {
    const response = await infer(asJson({ id: 'mine' }));
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/json');
    const answer = (await response.json()) as Answer;
    expect(answer).toMatchObject({
      id: 'mine',
      model_name: 'mlp',
      model_version: '1.0',
      outputs: [{ name: 'logits', shape: [1, 10], datatype: 'FP32' }],
    });
    expect(answer.outputs[0]?.data).toHaveLength(10);
  });

  it('answers the same tensors as bytes with the same numbers, as JSON and as bytes', async () => {
    const expected = ((await (await infer(asJson())).json()) as Answer).outputs[0]?.data ?? [];
    const asked = (await (await infer(...asBytes())).json()) as Answer;
    expect(asked.outputs[0]?.data).toEqual(expected);

    const response = await infer(...asBytes({ parameters: { binary_data_output: true } }));
    const length = Number(response.headers.get('inference-header-content-length'));
    expect(response.headers.get('content-type')).toBe('application/octet-stream');
    const body = Buffer.from(await response.arrayBuffer());
    const { outputs } = JSON.parse(body.toString('utf8', 0, length)) as Answer;
    expect(outputs[0]).toMatchObject({
      name: 'logits',
      shape: [1, 10],
      parameters: { binary_data_size: 40 },
    });
    const got = Array.from({ length: 10 }, (_, at) => body.readFloatLE(length + 4 * at));
    expect(got).toEqual(expected.map((value) => Math.fround(value)));
  });

  it('gives the tensors to the model whatever its handler', async () => {
    const description = await fetch(`${served.url}/ml/v2/models/mnist`);
    const { inputs } = (await description.json()) as { inputs: { name: string; shape: number[] }[] };
    const shape = inputs[0]?.shape.map((length) => (length < 0 ? 1 : length)) ?? [];
    const size = shape.reduce((count, length) => count * length, 1);
    const data = Array(size).fill(0);
    const request = { inputs: [{ name: inputs[0]?.name, shape, datatype: 'FP32', data }] };
    const response = await infer(JSON.stringify(request), {}, 'mnist/versions/1.0/infer');
    expect(response.status).toBe(200);
    expect(((await response.json()) as Answer).model_name).toBe('mnist');
  });

  it.each([
    ['no JSON', '{"inputs": [', {}],
    ['nothing', '', {}],
    ['no inputs', '{}', {}],
    ['inputs of a wrong type', '{"inputs": {"0": 1}}', {}],
    ['a name that the model has not', asJson({}, { name: 'nosuch' }), {}],
    ['too few numbers', asJson({}, { data: [1, 2, 3] }), {}],
    ['a shape that does not fit', asJson({}, { shape: [1, 64], data: values.slice(64) }), {}],
    ['a shape of billions', asJson({}, { shape: [2 ** 30, 2 ** 30] }), {}],
    ['a negative shape', asJson({}, { shape: [-1, -128] }), {}],
    ['an unknown datatype', asJson({}, { datatype: 'FP31' }), {}],
    ['texts for numbers', asJson({}, { data: Array(128).fill('1') }), {}],
    ['nesting without end', `{"inputs": ${'['.repeat(100_000)}`, {}],
  ] as const)('refuses %s with 400 and a reason', async (_what, body, headers) => {
    const response = await infer(body, headers);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: expect.stringMatching(/\w{3}/) });
  });

  it.each([
    ['fewer bytes than announced', asBytes({}, Buffer.alloc(511)), 511],
    ['JSON that ends early', asBytes(), 0],
    ['a JSON length beyond the body', asBytes(), 1_000_000],
  ] as const)('refuses binary tensors with %s', async (_what, [body, headers], length) => {
    const given = length === 511 ? headers['inference-header-content-length'] : String(length);
    const response = await infer(body, { ...headers, 'inference-header-content-length': given });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: expect.stringMatching(/\w{3}/) });
  });

  it('goes on serving after all of that', async () => {
    expect((await infer(asJson())).status).toBe(200);
    const ready = await fetch(`${served.url}/ml/v2/models/mlp/ready`);
    expect([ready.status, await ready.json()]).toEqual([200, { name: 'mlp', ready: true }]);
    expect((await fetch(`${served.url}/ml/v2/health/ready`)).status).toBe(200);
  });

  it('tells what the model takes and gives', async () => {
    const response = await fetch(`${served.url}/ml/v2/models/mlp`);
    expect(await response.json()).toMatchObject({
      name: 'mlp',
      versions: ['1.0'],
      inputs: [{ name: 'input', datatype: 'FP32' }],
      outputs: [{ name: 'logits', datatype: 'FP32' }],
    });
  });
});
