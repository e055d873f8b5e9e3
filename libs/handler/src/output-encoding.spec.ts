import { describe, expect, it } from 'vitest';
import { encodeOutput } from './output-encoding.js';

const textOf = (value: unknown): string => {
  const output = encodeOutput(value);
  return output.kind === 'text' ? output.text : '';
};

describe('encodeOutput', () => {
  it('leaves bytes as they are', () => {
    const bytes = new Uint8Array([0, 255]);
    expect(encodeOutput(bytes)).toEqual({ kind: 'bytes', bytes, encoding: 'binary' });
  });

  it('leaves a string a string, until it is so long that UTF-8 bytes are cheaper to move', () => {
    expect(encodeOutput('ü€')).toEqual({ kind: 'text', text: 'ü€', encoding: 'text' });
    const long = '€'.repeat(16 * 1024 + 1);
    expect(encodeOutput(long)).toEqual({
      kind: 'bytes',
      bytes: new TextEncoder().encode(long),
      encoding: 'text',
    });
    expect(encodeOutput([long])).toMatchObject({ kind: 'bytes', encoding: 'json' });
  });

  // Texts as TorchServe answered them.
  it.each<[unknown, string]>([
    [1.5, '1.5'],
    [true, 'true'],
    [null, 'null'],
    [[1, 'a', null], '[\n  1,\n  "a",\n  null\n]'],
    [{ k: 'ü' }, '{\n  "k": "\\u00fc"\n}'],
    [{ data1: '1', data2: [1, 2, 3] }, '{\n  "data1": "1",\n  "data2": [\n    1,\n    2,\n    3\n  ]\n}'],
    [{ b: 1, a: { c: [1.5, 2] } }, '{\n  "b": 1,\n  "a": {\n    "c": [\n      1.5,\n      2\n    ]\n  }\n}'],
    ['😀'.length === 2 ? { e: '😀' } : null, '{\n  "e": "\\ud83d\\ude00"\n}'],
    [{ empty: {}, none: [] }, '{\n  "empty": {},\n  "none": []\n}'],
  ])('writes %j as TorchServe does', (value, text) => {
    expect(textOf(value)).toBe(text);
  });

  it('writes plain data as JSON.stringify does', () => {
    const value = {
      text: 'a"b\\c\n\u0001',
      when: new Date(0),
      deep: [{ a: [[], {}] }],
      left: undefined,
      '1': -0,
      big: 1e21,
    };
    expect(textOf(value)).toBe(JSON.stringify(value, null, 2));
  });

  it('keeps the order of a map, also of keys that look like numbers', () => {
    expect(
      textOf(
        new Map([
          ['7', 0.9],
          ['3', 0.1],
        ]),
      ),
    ).toBe('{\n  "7": 0.9,\n  "3": 0.1\n}');
  });

  it('writes typed arrays as arrays, and what is no number in JSON as null', () => {
    expect(textOf(new Float32Array([1, Number.NaN, Infinity]))).toBe('[\n  1,\n  null,\n  null\n]');
  });

  it('writes an object twice that is there twice', () => {
    const shared = { a: 1 };
    expect(JSON.parse(textOf([shared, shared]))).toEqual([shared, shared]);
  });

  const cyclic: unknown[] = [];
  cyclic.push({ cyclic });
  let deep: unknown = 1;
  for (let depth = 0; depth < 100_000; depth++) deep = [deep];
  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['a function', { f: () => 1 }],
    ['a symbol', [Symbol('s')]],
    ['a bigint', { n: 1n }],
    ['64-bit integers', new BigInt64Array(1)],
    ['a set', new Set([1])],
    ['a promise', { later: Promise.resolve(1) }],
    ['an error', new Error('x')],
    ['a map with other keys', new Map([[1, 2]])],
    ['a cycle', cyclic],
    ['endless nesting', deep],
  ])('refuses %s', (_what, value) => {
    expect(() => encodeOutput(value)).toThrow(expect.objectContaining({ code: 'OUTPUT_NOT_SERIALIZABLE' }));
  });
});
