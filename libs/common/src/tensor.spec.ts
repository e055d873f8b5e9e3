import { describe, expect, it } from 'vitest';
import { MAX_ELEMENTS, elementCount, isTensors, tensor } from './tensor.js';

describe('elementCount', () => {
  it('multiplies the dimensions; a scalar has one element', () => {
    expect(elementCount([2, 3, 4])).toBe(24);
    expect(elementCount([])).toBe(1);
    expect(elementCount([3, 0])).toBe(0);
  });

  it.each([[[-1]], [[1.5]], [[Number.NaN]], [[2 ** 31, 2 ** 31]], [[MAX_ELEMENTS + 1]]])(
    'refuses %j',
    (shape) => {
      expect(() => elementCount(shape)).toThrowError(expect.objectContaining({ code: 'INVALID_INPUT' }));
    },
  );
});

describe('tensor', () => {
  it('refuses data that does not fit its shape or type', () => {
    expect(() => tensor('float32', new Float32Array(3), [2, 2])).toThrowError(
      /needs 4 elements, the data has 3/,
    );
    expect(() => tensor('int64', new Float32Array(1), [1])).toThrowError(/BigInt64Array/);
    expect(() => tensor('string', new Uint8Array(1), [1])).toThrowError(/string\[\]/);
  });

  it('is recognised by its form', () => {
    expect(isTensors({ x: tensor('string', ['a'], [1]) })).toBe(true);
    expect(
      [{}, { x: 1 }, null, new Uint8Array(2), [tensor('bool', new Uint8Array(1), [1])]].map(isTensors),
    ).toEqual(Array(5).fill(false));
  });
});
