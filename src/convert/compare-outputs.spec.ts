import { describe, expect, it } from 'vitest';
import type { DType, Tensor } from '#libs/common';
import { compareOutputs } from './compare-outputs.js';

const ARRAYS = {
  float32: Float32Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  bool: Uint8Array,
} as const;

function tensor(dtype: keyof typeof ARRAYS & DType, values: readonly (number | bigint)[]): Tensor {
  return { dtype, shape: [values.length], data: new ARRAYS[dtype](values as never) };
}

function compare(expected: Tensor, actual: Tensor, tolerance = 1e-4): number {
  return compareOutputs([{ name: 'scores', ...expected }], { scores: actual }, tolerance);
}

describe('outputs', () => {
  it('are as far apart as their largest difference, as a part of their largest value', () => {
    const apart = compare(tensor('float32', [-100, 1, 0]), tensor('float32', [-100, 1.0078125, 0]));
    expect(apart).toBeCloseTo(0.0078125 / 100, 8);
  });

  it('may differ by the tolerance and no more', () => {
    const expected = tensor('float32', [-100, 1]);
    expect(() => compare(expected, tensor('float32', [-100, 1.02]))).toThrow(
      'output "scores" has 1.0199999809265137 at element 1, PyTorch 1; 0.010 apart is allowed (0.0001 of its largest value)',
    );
    expect(compare(expected, tensor('float32', [-100, 1.02]), 1e-3)).toBeCloseTo(2e-4, 6);
  });

  it('have NaN and infinities at the same places', () => {
    const [nan, infinite] = [
      tensor('float32', [Number.NaN, 1]),
      tensor('float32', [Number.NEGATIVE_INFINITY, 1]),
    ];
    expect(compare(nan, nan)).toBe(0);
    expect(compare(infinite, infinite)).toBe(0);
    for (const [a, b] of [
      [nan, infinite],
      [infinite, tensor('float32', [Number.POSITIVE_INFINITY, 1])],
      [nan, tensor('float32', [0, 1])],
      [tensor('float32', [0, 1]), nan],
      [tensor('float32', [0, 1]), infinite],
    ] as const)
      expect(() => compare(a, b)).toThrow('gives other answers than PyTorch');
  });

  it('that are all zeros are compared too', () => {
    expect(compare(tensor('float32', [0, 0]), tensor('float32', [0, 1e-12]))).toBe(0);
    expect(() => compare(tensor('float32', [0, 0]), tensor('float32', [0, 1e-3]))).toThrow(
      '0.0 apart is allowed',
    );
  });

  it('of half floats have the precision of half floats', () => {
    // 0x3c00 is 1, the next one 1.001, and 0x3c20 is 1.03.
    expect(compare(tensor('float16', [0x3c00]), tensor('float16', [0x3c01]))).toBeCloseTo(2 ** -10, 8);
    expect(() => compare(tensor('float16', [0x3c00]), tensor('float16', [0x3c20]))).toThrow(
      'has 1.03125 at element 0',
    );
  });

  it.each([
    ['int64', [1n, 2n], [1n, 3n], 'has 3 at element 1, PyTorch 2'],
    ['bool', [1, 0], [1, 1], 'has 1 at element 1, PyTorch 0'],
  ] as const)('of type %s are equal', (dtype, expected, actual, message) => {
    expect(compare(tensor(dtype, expected), tensor(dtype, expected))).toBe(0);
    expect(() => compare(tensor(dtype, expected), tensor(dtype, actual))).toThrow(message);
  });

  it('have one name, type and shape', () => {
    const one = tensor('float32', [1]);
    expect(() => compareOutputs([{ name: 'toString', ...one }], { scores: one }, 1)).toThrow('is missing');
    expect(() => compare(one, tensor('bool', [1]))).toThrow('is bool [1] and not float32 [1]');
    expect(() => compare(one, { ...one, shape: [1, 1] })).toThrow('is float32 [1,1] and not float32 [1]');
  });
});
