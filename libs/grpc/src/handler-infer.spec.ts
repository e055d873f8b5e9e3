import { describe, expect, it } from 'vitest';
import type { ItemResult } from '#libs/common';
import { handlerInput, readHandlerAnswer } from './handler-infer.js';
import type { InferInput, ModelInferRequest } from './model-infer-messages.js';

const request = (input: Partial<InferInput>): ModelInferRequest => ({
  model_name: 'm',
  model_version: '',
  id: 'i',
  inputs: [{ name: 'x', datatype: 'FP32', shape: ['2', '2'], contents: null, ...input }],
  outputs: [],
  raw_input_contents: [],
});
const textOf = (input: Partial<InferInput>) => {
  const [body] = handlerInput(request(input)).parameters;
  return Buffer.from(body?.value ?? '').toString();
};
const written = (input: Partial<InferInput>) => JSON.parse(textOf(input)) as { inputs: { data: unknown }[] };
const answer = (text: string): ItemResult => ({
  status: 200,
  reason: '',
  headers: [],
  output: { kind: 'text', text, encoding: 'json' },
});

describe('a request for a handler', () => {
  it('nests data as the shape says, and keeps floats floats', () => {
    const contents = { fp32_contents: [1, 2.5, -3, 4] };
    expect(textOf({ contents })).toContain('"data":[[1.0,2.5],[-3.0,4.0]]');
  });

  it('has bytes in base64, and 64-bit integers in full', () => {
    const bytes = { datatype: 'BYTES', shape: ['1'], contents: { bytes_contents: [Buffer.from('abc')] } };
    expect(written(bytes).inputs[0]?.data).toEqual(['YWJj']);
    const long = { datatype: 'INT64', shape: ['1'], contents: { int64_contents: ['9223372036854775807'] } };
    expect(textOf(long)).toContain('"data":[9223372036854775807]');
  });

  it.each<[string, Partial<InferInput>]>([
    ['3 elements are given, shape [2,2] has 4', { contents: { fp32_contents: [1, 2, 3] } }],
    ['FP31 is no data type for a handler', { datatype: 'FP31' }],
  ])('is refused: %s', (text, input) => {
    expect(() => handlerInput(request(input))).toThrow(text);
  });
});

describe('the answer of a handler', () => {
  it('has the JSON of each element of BYTES, and the numbers of all others', () => {
    const outputs =
      '[{"name":"a","datatype":"BYTES","shape":[1],"data":[{"x": 1.0}]},{"name":"b","datatype":"INT64","shape":[1,2],"data":[[1,9007199254740993]]}]';
    const read = readHandlerAnswer(
      answer(`{"id":"i","model_name":"m","model_version":"1.0","outputs":${outputs}}`),
      request({}),
    );
    expect(read).toEqual({
      id: 'i',
      model_name: 'm',
      model_version: '1.0',
      outputs: [
        {
          name: 'a',
          datatype: 'BYTES',
          shape: ['1'],
          contents: { bytes_contents: [Buffer.from('{"x":1.0}')] },
        },
        {
          name: 'b',
          datatype: 'INT64',
          shape: ['1', '2'],
          contents: { int64_contents: ['1', '9007199254740993'] },
        },
      ],
    });
  });

  it.each([
    'no json',
    '[]',
    '{}',
    '{"outputs":[1]}',
    '{"outputs":[{"shape":[1],"data":[1],"datatype":"FP31"}]}',
  ])('is refused when it is none of the protocol: %s', (text) =>
    expect(() => readHandlerAnswer(answer(text), request({}))).toThrow('kservev2'),
  );
});
