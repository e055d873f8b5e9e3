import { describe, expect, it } from 'vitest';
import type { TensorContents } from './model-infer-messages.js';
import { bytesOfContents, contentsOfBytes } from './tensor-contents.js';

const bytesOf = (datatype: string, contents: TensorContents | null) =>
  bytesOfContents({ name: 'x', datatype, shape: ['2'], contents });

const CASES: readonly [datatype: string, contents: TensorContents, bytes: ArrayBuffer][] = [
  ['BOOL', { bool_contents: [true, false] }, Uint8Array.of(1, 0).buffer],
  ['INT8', { int_contents: [-128, 127] }, Int8Array.of(-128, 127).buffer],
  ['INT16', { int_contents: [-32_768, 1] }, Int16Array.of(-32_768, 1).buffer],
  ['INT32', { int_contents: [-1, 7] }, Int32Array.of(-1, 7).buffer],
  ['INT64', { int64_contents: ['-1', '9223372036854775807'] }, BigInt64Array.of(-1n, 2n ** 63n - 1n).buffer],
  ['UINT8', { uint_contents: [0, 255] }, Uint8Array.of(0, 255).buffer],
  ['UINT16', { uint_contents: [0, 65_535] }, Uint16Array.of(0, 65_535).buffer],
  ['UINT32', { uint_contents: [0, 4_294_967_295] }, Uint32Array.of(0, 4_294_967_295).buffer],
  [
    'UINT64',
    { uint64_contents: ['0', '18446744073709551615'] },
    BigUint64Array.of(0n, 2n ** 64n - 1n).buffer,
  ],
  ['FP32', { fp32_contents: [1.5, -2] }, Float32Array.of(1.5, -2).buffer],
  ['FP64', { fp64_contents: [0.1, Infinity] }, Float64Array.of(0.1, Infinity).buffer],
  [
    'BYTES',
    { bytes_contents: [Buffer.from('ab'), Buffer.from('')] },
    Uint8Array.of(2, 0, 0, 0, 97, 98, 0, 0, 0, 0).buffer,
  ],
];

describe('the elements of a tensor', () => {
  it.each(CASES)('of %s are written as bytes, and read back from anywhere', (datatype, contents, buffer) => {
    const bytes = Buffer.from(buffer);
    expect(Buffer.from(bytesOf(datatype, contents))).toEqual(bytes);
    const behindOthers = Buffer.concat([Buffer.from('x'), bytes]).subarray(1);
    expect(contentsOfBytes(datatype, behindOthers)).toEqual(contents);
  });

  it.each<[string, TensorContents, string]>([
    ['INT8', { int_contents: [1, 128] }, 'INT8 has no value 128 (element 1)'],
    ['UINT16', { uint_contents: [65_536] }, 'UINT16 has no value 65536 (element 0)'],
    ['FP32', { int_contents: [1] }, 'the elements of FP32 go into fp32_contents, and int_contents has some'],
    ['FP16', {}, 'FP16 has no list of elements; send it as raw_input_contents'],
  ])('of %s are refused when they are others', (datatype, contents, text) => {
    expect(() => bytesOf(datatype, contents)).toThrow(text);
  });

  it('are none for a data type that nobody knows, whose reader says so', () => {
    expect(bytesOf('FP31', { fp32_contents: [] })).toHaveLength(0);
    expect(contentsOfBytes('FP16', new Uint8Array(2))).toBeUndefined();
  });

  it.each([
    ['INT32', Uint8Array.of(1, 2, 3)],
    ['BYTES', Uint8Array.of(9, 0, 0, 0, 97)],
    ['BYTES', Uint8Array.of(9, 0)],
  ])('of %s are refused when their bytes are cut off', (datatype, bytes) => {
    expect(() => contentsOfBytes(datatype, bytes)).toThrow(
      /no whole number of elements|longer than the data/,
    );
  });
});
