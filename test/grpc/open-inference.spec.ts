import { status } from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Message } from '../support/grpc-client.js';
import { openGrpc, protocolCall, type OpenGrpc } from './open-grpc.js';

const TORCHSERVE_PACKAGE = 'org.pytorch.serve.grpc.openinference';

let served: OpenGrpc;
beforeAll(async () => {
  served = await openGrpc({
    // The first has a handler of its own; the protocol's tensors go to the model all the same.
    models: [
      'mnist',
      'mlp',
      { fixture: 'mlp', name: 'identities', serializedFile: 'models/identities.onnx' },
    ],
  });
});
afterAll(() => served.close());

const values = Array.from({ length: 128 }, (_, at) => Math.fround(Math.sin(at)));
const bytes = Buffer.from(new Float32Array(values).buffer);
const described = { name: 'input', datatype: 'FP32', shape: ['1', '128'] };
const asContents = { ...described, contents: { fp32_contents: values } };
const infer = (message: Message, inPackage?: string) =>
  served.client.call(protocolCall('ModelInfer', { model_name: 'mlp', ...message }, inPackage));

interface Output {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly string[];
  readonly contents?: { readonly fp32_contents: readonly number[] };
}

describe('ModelInfer', () => {
  it('answers as over HTTP, in the form of the request', async () => {
    const http = await fetch(`${served.url}/v2/models/mlp/infer`, {
      method: 'POST',
      body: JSON.stringify({ inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 128], data: values }] }),
    });
    const { outputs } = (await http.json()) as {
      outputs: { data: number[]; name: string; shape: number[] }[];
    };
    const expected = Float32Array.from(outputs[0]?.data ?? []);

    const { messages } = await infer({ id: 'i', inputs: [asContents] });
    const [answer] = messages as { outputs: Output[] }[];
    expect(answer).toMatchObject({ model_name: 'mlp', model_version: '1.0', id: 'i' });
    expect(answer?.outputs[0]).toMatchObject({
      name: outputs[0]?.name,
      datatype: 'FP32',
      shape: outputs[0]?.shape.map(String),
    });
    expect(Float32Array.from(answer?.outputs[0]?.contents?.fp32_contents ?? [])).toEqual(expected);

    const raw = await infer({ inputs: [described], raw_input_contents: [bytes.toString('base64')] });
    const [contents] = (raw.messages[0] as { raw_output_contents: string[] }).raw_output_contents;
    expect(Buffer.from(contents ?? '', 'base64')).toEqual(Buffer.from(expected.buffer));
    expect(raw.messages[0]).not.toHaveProperty('outputs[0].contents');
  });

  it('answers in the package of TorchServe, too', async () => {
    expect((await infer({ inputs: [asContents] }, TORCHSERVE_PACKAGE)).messages).toEqual(
      (await infer({ inputs: [asContents] })).messages,
    );
  });

  it('takes and gives every data type as raw contents', async () => {
    const texts = ['ä', 'second'].map((text) => Buffer.from(text));
    const elements: Readonly<Record<string, readonly [datatype: string, bytes: Buffer]>> = {
      float: ['FP32', Buffer.from(Float32Array.of(1.5, -2).buffer)],
      double: ['FP64', Buffer.from(Float64Array.of(0.1, -2).buffer)],
      float16: ['FP16', Buffer.from(Uint16Array.of(0x3c00, 0xc000).buffer)],
      int8: ['INT8', Buffer.from(Int8Array.of(-128, 127).buffer)],
      uint8: ['UINT8', Buffer.from(Uint8Array.of(0, 255).buffer)],
      int16: ['INT16', Buffer.from(Int16Array.of(-32_768, 1).buffer)],
      uint16: ['UINT16', Buffer.from(Uint16Array.of(0, 65_535).buffer)],
      int32: ['INT32', Buffer.from(Int32Array.of(-1, 7).buffer)],
      uint32: ['UINT32', Buffer.from(Uint32Array.of(1, 2 ** 32 - 1).buffer)],
      int64: ['INT64', Buffer.from(BigInt64Array.of(-1n, 2n ** 62n).buffer)],
      uint64: ['UINT64', Buffer.from(BigUint64Array.of(0n, 2n ** 64n - 1n).buffer)],
      bool: ['BOOL', Buffer.from([1, 0])],
      string: [
        'BYTES',
        Buffer.concat(texts.flatMap((text) => [Buffer.from(Uint32Array.of(text.length).buffer), text])),
      ],
    };
    const entries = Object.entries(elements);
    const { code, details, messages } = await infer({
      model_name: 'identities',
      inputs: entries.map(([name, [datatype]]) => ({ name, datatype, shape: ['1', '2'] })),
      raw_input_contents: entries.map(([, [, content]]) => content.toString('base64')),
    });
    expect([code, details]).toEqual([status.OK, 'OK']);
    const { outputs, raw_output_contents: raw } = messages[0] as {
      outputs: Output[];
      raw_output_contents: string[];
    };
    expect(outputs.map(({ datatype }, at) => [datatype, Buffer.from(raw[at] ?? '', 'base64')])).toEqual(
      Object.values(elements),
    );
  });

  it('answers with the outputs that are asked for', async () => {
    const { code, details } = await infer({ inputs: [asContents], outputs: [{ name: 'nosuch' }] });
    expect(code).toBe(status.INVALID_ARGUMENT);
    expect(details).toContain('The model has no output "nosuch"');
  });

  it.each<[string, Message, string]>([
    ['no inputs', { inputs: [] }, '"inputs" is a non-empty array'],
    [
      'too few elements',
      { inputs: [{ ...described, contents: { fp32_contents: [1, 2] } }] },
      '8 bytes of data are given, 128 elements of FP32 are 512',
    ],
    [
      'elements of another type',
      { inputs: [{ ...described, contents: { int_contents: [1] } }] },
      'the elements of FP32 go into fp32_contents, and int_contents has some',
    ],
    [
      'an unknown data type',
      { inputs: [{ ...described, datatype: 'FP31' }] },
      'the datatype "FP31" is unknown',
    ],
    ['an input that the model does not have', { inputs: [{ ...asContents, name: 'x' }] }, '"x"'],
    ['a negative dimension', { inputs: [{ ...asContents, shape: ['-1', '128'] }] }, 'dimension -1'],
    [
      'a dimension beyond all numbers',
      { inputs: [{ ...asContents, shape: ['9223372036854775807'] }] },
      'dimension',
    ],
    [
      'raw contents beside others',
      { inputs: [asContents], raw_input_contents: [bytes.toString('base64')] },
      'raw_input_contents has 1 entries for 1 inputs',
    ],
    [
      'fewer raw contents than inputs',
      { inputs: [described, { ...described, name: 'b' }], raw_input_contents: [''] },
      'raw_input_contents has 1 entries for 2 inputs',
    ],
    [
      'FP16 as a list',
      { inputs: [{ ...described, datatype: 'FP16', contents: {} }] },
      'FP16 has no list of elements',
    ],
  ])('says what is wrong with %s', async (_, message, text) => {
    const { code, details } = await infer(message);
    expect({ code, details }).toEqual({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining(text) as string,
    });
  });

  it('tells an unknown model by the rules of each package', async () => {
    const unknown = { model_name: 'nosuch', inputs: [asContents] };
    expect(await infer(unknown)).toMatchObject({
      code: status.NOT_FOUND,
      details: 'Model not found: nosuch',
    });
    expect(await infer(unknown, TORCHSERVE_PACKAGE)).toMatchObject({ code: status.INTERNAL });
    expect(await infer({ ...unknown, model_name: '' })).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(await infer({ model_version: '9', inputs: [asContents] })).toMatchObject({
      code: status.NOT_FOUND,
    });
  });
});

describe('ModelInfer of a handler in the envelope kservev2', () => {
  let wrapped: OpenGrpc;
  beforeAll(async () => {
    const handler = fileURLToPath(new URL('../python/twins/echo_handler.mjs', import.meta.url));
    wrapped = await openGrpc({
      options: { serviceEnvelope: 'kservev2' },
      models: [{ fixture: 'slow', name: 'echo', handler }],
    });
  });
  afterAll(() => wrapped.close());

  it.each<[string, Message]>([
    [
      'lists',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: ['1', '2'], contents: { fp32_contents: [1, 2.5] } }] },
    ],
    [
      'raw contents',
      {
        inputs: [{ name: 'x', datatype: 'FP32', shape: ['1', '2'] }],
        raw_input_contents: [Buffer.from(Float32Array.of(1, 2.5).buffer).toString('base64')],
      },
    ],
  ])('gives it the data in %s, and answers what it gave', async (_name, message) => {
    const { code, messages } = await wrapped.client.call(
      protocolCall('ModelInfer', { model_name: 'echo', id: 'i', ...message }),
    );
    expect(code).toBe(status.OK);
    const [answer] = messages as { outputs: { contents: { bytes_contents: string[] } }[] }[];
    expect(answer).toMatchObject({
      model_name: 'echo',
      id: 'i',
      outputs: [{ name: 'x', datatype: 'BYTES', shape: ['1'] }],
    });
    const [element] = answer?.outputs[0]?.contents.bytes_contents ?? [];
    expect(JSON.parse(Buffer.from(element ?? '', 'base64').toString())).toMatchObject({
      fields: { data: { value: [[1, 2.5]] }, datatype: { value: 'FP32' } },
    });
  });
});

describe('what a client asks before', () => {
  const ask = async (rpc: string, message: Message = {}) => served.client.call(protocolCall(rpc, message));

  it('tells whether server and models are ready', async () => {
    expect((await ask('ServerLive')).messages).toEqual([{ live: true }]);
    expect((await ask('ServerReady')).messages).toEqual([{ ready: true }]);
    expect((await ask('ModelReady', { name: 'mlp' })).messages).toEqual([{ ready: true }]);
    expect(await ask('ModelReady', { name: 'nosuch' })).toMatchObject({ code: status.NOT_FOUND });
  });

  it('tells what server and models are', async () => {
    const [server] = (await ask('ServerMetadata')).messages;
    expect(server).toMatchObject({ name: 'Marline', extensions: ['binary_tensor_data'] });
    const [model] = (await ask('ModelMetadata', { name: 'mlp' })).messages;
    expect(model).toMatchObject({
      name: 'mlp',
      versions: ['1.0'],
      inputs: [{ name: 'input', datatype: 'FP32' }],
    });
  });
});

describe('the proto files', () => {
  it('describe the same service for both packages', () => {
    const read = (file: string) =>
      readFileSync(new URL(`../../libs/grpc/proto/${file}`, import.meta.url), 'utf8');
    const bare = (text: string) => text.replaceAll(/^ *\/\/.*\n/gm, '').replace(/^package .*;/m, '');
    expect(bare(read('open_inference_grpc.proto'))).toBe(bare(read('grpc_service.proto')));
  });
});
