import { describe, expect, it } from 'vitest';
import { tensor, type DType } from '#libs/common';
import { answerOf, jsonItem, runBatch } from '../../../test/handler/fakes.js';
import { BaseHandler } from './base-handler.js';
import { float16Bits, float16Value } from './float16.js';
import { decodeTensors, encodeTensors } from './tensor-json.js';

const one = (datatype: unknown, shape: unknown, data: unknown) =>
  decodeTensors([{ name: 'x', datatype, shape, data }])['x'];

describe('reading tensors', () => {
  it.each<[string, DType, unknown[], unknown[]]>([
    ['BOOL', 'bool', [true, false, 1, 0], [1, 0, 1, 0]],
    ['UINT8', 'uint8', [0, 255], [0, 255]],
    ['UINT16', 'uint16', [65535], [65535]],
    ['UINT32', 'uint32', [4294967295], [4294967295]],
    ['UINT64', 'uint64', ['18446744073709551615', 7], [18446744073709551615n, 7n]],
    ['INT8', 'int8', [-128, 127], [-128, 127]],
    ['INT16', 'int16', [-32768], [-32768]],
    ['INT32', 'int32', [-2147483648], [-2147483648]],
    [
      'INT64',
      'int64',
      [-1, '9223372036854775807', '-9223372036854775808'],
      [-1n, 9223372036854775807n, -9223372036854775808n],
    ],
    ['FP16', 'float16', [1, -2, 0.5], [0x3c00, 0xc000, 0x3800]],
    ['FP32', 'float32', [1.5, -0.25], [1.5, -0.25]],
    ['FP64', 'float64', [0.1], [0.1]],
    ['BYTES', 'string', ['a', 'ü'], ['a', 'ü']],
  ])('reads %s', (datatype, dtype, data, elements) => {
    const read = one(datatype, [data.length], data);
    expect(read?.dtype).toBe(dtype);
    expect(Array.from<unknown>(read?.data ?? [])).toEqual(elements);
  });

  it.each([
    ['flat', [1, 2, 3, 4, 5, 6]],
    [
      'nested',
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
    ],
  ])('takes %s data', (_form, data) => {
    expect(one('FP32', [2, 3], data)).toEqual(
      tensor('float32', new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3]),
    );
  });

  it('takes a scalar and tensors without elements', () => {
    expect(one('INT32', [], [7])?.data).toEqual(new Int32Array([7]));
    expect(one('INT32', [0, 3], [])?.shape).toEqual([0, 3]);
    expect(one('INT32', [2, 0], [[], []])?.data.length).toBe(0);
  });

  it('keeps a name such as __proto__ a name', () => {
    const tensors = decodeTensors([{ name: '__proto__', datatype: 'INT8', shape: [1], data: [1] }]);
    expect(Object.keys(tensors)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(tensors)).toBe(Object.prototype);
  });

  it.each<[string, unknown, unknown, unknown, string]>([
    ['an unknown datatype', 'BF16', [1], [1], 'Input "x": the datatype "BF16" is unknown; known are BOOL, '],
    ['no datatype', undefined, [1], [1], 'the datatype undefined is unknown'],
    ['a shape that is none', 'FP32', 'big', [1], '"shape" is an array of at most 32 whole numbers'],
    ['a shape of text', 'FP32', ['2'], [1], '"shape" is an array of at most 32 whole numbers'],
    ['a negative dimension', 'FP32', [-1], [1], 'Shape [-1] has the dimension -1'],
    ['a broken dimension', 'FP32', [1.5], [1], 'Shape [1.5] has the dimension 1.5'],
    ['a gigantic shape', 'FP32', [2 ** 20, 2 ** 20], [1], `at most ${2 ** 28} are allowed`],
    ['a very deep shape', 'FP32', Array<number>(33).fill(1), [1], '"shape" is an array of at most 32'],
    ['no data', 'FP32', [1], undefined, '"data" is an array'],
    ['too little data', 'FP32', [2, 2], [1, 2, 3], 'the data has 3 elements, shape [2,2] needs 4'],
    ['too much data', 'FP32', [1], [1, 2], 'the data has 2 elements, shape [1] needs 1'],
    [
      'a large shape with little data',
      'FP32',
      [2 ** 27],
      [1],
      `the data has 1 elements, shape [${2 ** 27}] needs ${2 ** 27}`,
    ],
    ['ragged data', 'FP32', [2, 2], [[1, 2], [3]], 'data[1] has 1 elements, shape [2,2] needs 2'],
    [
      'data ragged further in',
      'FP32',
      [2, 2, 1],
      [
        [[1], [2]],
        [[3], []],
      ],
      'data[1][1] has 0 elements, shape [2,2,1] needs 1',
    ],
    [
      'data that is not nested all along',
      'FP32',
      [2, 1],
      [[1], 2],
      'data[1] is not an array, as shape [2,1] needs',
    ],
    ['data nested too deep', 'FP32', [1, 1], [[[1]]], 'element 0 is an array; FP32 takes finite numbers'],
    ['text for a number', 'FP32', [2], [1, 'abc'], 'element 1 is "abc"; FP32 takes finite numbers'],
    ['null for a number', 'FP64', [1], [null], 'element 0 is null'],
    ['NaN', 'FP32', [1], [Number.NaN], 'element 0 is NaN'],
    ['a number beyond FP32', 'FP32', [1], [1e39], 'element 0 is 1e+39'],
    [
      'a number beyond FP16',
      'FP16',
      [1],
      [65520],
      'element 0 is 65520; FP16 takes finite numbers up to ±65504',
    ],
    [
      'a fraction for an integer',
      'INT8',
      [1],
      [1.5],
      'element 0 is 1.5; INT8 takes whole numbers from -128 to 127',
    ],
    [
      'an integer out of range',
      'UINT8',
      [1],
      [256],
      'element 0 is 256; UINT8 takes whole numbers from 0 to 255',
    ],
    ['a negative unsigned integer', 'UINT64', [1], [-1], 'element 0 is -1'],
    [
      'an integer that a double cannot hold',
      'INT64',
      [1],
      [2 ** 53],
      'as decimal strings beyond ±9007199254740991',
    ],
    [
      'an integer beyond 64 bits',
      'INT64',
      [1],
      ['9223372036854775808'],
      'element 0 is "9223372036854775808"',
    ],
    ['hexadecimal text', 'INT64', [1], ['0x10'], 'element 0 is "0x10"'],
    ['a number for a bool', 'BOOL', [1], [2], 'element 0 is 2; BOOL takes true and false, or 0 and 1'],
    ['a number for text', 'BYTES', [1], [1], 'element 0 is 1; BYTES takes strings'],
  ])('refuses %s', (_what, datatype, shape, data, message) => {
    expect(() => one(datatype, shape, data)).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', message: expect.stringContaining(message) as string }),
    );
  });

  it.each<[string, unknown, string]>([
    ['no inputs', undefined, '"inputs" is a non-empty array'],
    ['an empty list', [], '"inputs" is a non-empty array'],
    ['an input that is no object', [1], 'inputs[0] is not an object'],
    ['an input without name', [{ datatype: 'FP32' }], 'inputs[0] has no "name"'],
    [
      'a name that comes twice',
      [1, 2].map((value) => ({ name: 'x', datatype: 'INT8', shape: [1], data: [value] })),
      'Input "x" is given twice',
    ],
    [
      'too many inputs',
      Array.from({ length: 1025 }, (_, i) => ({ name: `x${i}` })),
      '"inputs" has 1025 entries',
    ],
  ])('refuses %s', (_what, inputs, message) => {
    expect(() => decodeTensors(inputs)).toThrow(message);
  });

  it('shows no more of a hostile value than a few letters', () => {
    expect(() => one('X'.repeat(10_000), [1], [1])).toThrow(/^.{0,300}$/);
    expect(() =>
      decodeTensors([{ name: 'n'.repeat(10_000), datatype: 'INT8', shape: [2], data: [] }]),
    ).toThrow(/^.{0,300}$/);
  });

  it('survives nesting that would exhaust the stack', () => {
    let data: unknown = [1];
    for (let depth = 0; depth < 100_000; depth++) data = [data];
    expect(() => one('FP32', [1, 1], data)).toThrow('element 0 is an array');
  });
});

describe('writing tensors', () => {
  it('writes flat data, with 64-bit integers as numbers where they are exact', () => {
    const data = new BigInt64Array([1n, 9007199254740993n]);
    expect(
      encodeTensors({ y: tensor('int64', data, [1, 2]), b: tensor('bool', new Uint8Array([1, 0]), [2]) }),
    ).toEqual([
      { name: 'y', shape: [1, 2], datatype: 'INT64', data: [1, '9007199254740993'] },
      { name: 'b', shape: [2], datatype: 'BOOL', data: [true, false] },
    ]);
  });

  it('writes FP16 as numbers', () => {
    expect(encodeTensors({ y: tensor('float16', new Uint16Array([0x3c00, 0x0001]), [2]) })[0]?.data).toEqual([
      1,
      2 ** -24,
    ]);
  });
});

describe('half precision', () => {
  it('reads back every finite value that it writes', () => {
    const finite = Array.from({ length: 0x10000 }, (_, bits) => bits).filter(
      (bits) => (bits & 0x7c00) !== 0x7c00,
    );
    expect(finite.filter((bits) => float16Bits(float16Value(bits)) !== bits)).toEqual([]);
  });

  it.each([
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [2 ** -25, 0x0000],
    [2 ** -25 * 1.01, 0x0001],
    [2 ** -14 - 2 ** -25, 0x0400],
    [-0, 0x8000],
    [-Infinity, 0xfc00],
  ])('rounds %d to the nearest, ties to even', (value, bits) => {
    expect(float16Bits(value)).toBe(bits);
  });
});

describe('the tensor handler', () => {
  const request = (extra: object = {}) => ({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [[1, 2]] }],
    ...extra,
  });

  it('answers named tensors with named tensors', async () => {
    const sink = await runBatch(new BaseHandler(), [jsonItem('a', request({ id: 'mine', parameters: {} }))]);
    expect(answerOf(sink.results.get('a'))).toEqual({
      model_name: 'demo',
      model_version: '1.0',
      id: 'mine',
      outputs: [{ name: 'y', shape: [1, 2], datatype: 'FP32', data: [2, 4] }],
    });
  });

  it('repeats no id that was not given, also within a batch', async () => {
    const sink = await runBatch(new BaseHandler(), [
      jsonItem('a', request({ id: 'mine' })),
      jsonItem('b', request()),
    ]);
    expect(answerOf(sink.results.get('b'))).not.toHaveProperty('id');
  });

  it('gives the outputs that were asked for', async () => {
    const sink = await runBatch(new BaseHandler(), [
      jsonItem('a', request({ outputs: [] })),
      jsonItem('b', request({ outputs: [{ name: 'z' }] })),
    ]);
    expect(answerOf(sink.results.get('a'))).toMatchObject({ outputs: [] });
    expect(sink.errors.get('b')?.message).toBe('The model has no output "z"; it has "y".');
  });

  it.each([
    ['no JSON', 'text', 'The request is not valid JSON.'],
    ['a list', [1], 'The request is a JSON object with "inputs"'],
    ['an id that is no text', request({ id: 1 }), '"id" is a string.'],
    [
      'an unknown input',
      { inputs: [{ name: 'q', datatype: 'FP32', shape: [1], data: [1] }] },
      'The model has no input "q"; it takes "x" (float32 [batch,2]).',
    ],
    [
      'a wrong type',
      { inputs: [{ name: 'x', datatype: 'INT64', shape: [1, 2], data: [1, 2] }] },
      'Input "x" must be float32 [batch,2], got int64 [1,2].',
    ],
    [
      'a wrong rank',
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [2], data: [1, 2] }] },
      'Input "x" must be float32 [batch,2], got float32 [2].',
    ],
  ])('refuses %s', async (_what, body, message) => {
    const sink = await runBatch(new BaseHandler(), [jsonItem('a', body)]);
    expect(sink.errors.get('a')).toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringContaining(message) as string,
    });
  });
});
