import { describe, expect, it } from 'vitest';
import { arrayTypeOf, tensor, type DType } from '#libs/common';
import { sampleInputs } from './sample-inputs.js';

describe('sampleInputs', () => {
  it('keeps fixed dimensions and guesses the free ones', () => {
    const samples = sampleInputs([{ name: 'image', dtype: 'float32', shape: ['n', 3, 'h', 'w'] }]);
    expect(samples.map(({ image }) => image?.shape)).toEqual([
      [1, 3, 1, 1],
      [1, 3, 64, 64],
    ]);
    expect(sampleInputs([{ name: 'x', dtype: 'float32', shape: [2, 3] }])).toHaveLength(1);
  });

  it.each<DType>(['float32', 'float64', 'float16', 'int8', 'uint8', 'int64', 'uint64', 'bool', 'string'])(
    'makes a valid %s tensor',
    (dtype) => {
      const sample = sampleInputs([{ name: 'x', dtype, shape: [2, 2] }])[0]?.['x'];
      expect(sample).toEqual(tensor(dtype, sample?.data ?? [], [2, 2]));
    },
  );

  it('stays inside what an index or a mask may be', () => {
    const ids = sampleInputs([{ name: 'ids', dtype: 'int64', shape: [1, 8] }])[0]?.['ids']?.data;
    expect(ids).toBeInstanceOf(arrayTypeOf('int64'));
    expect([...(ids ?? [])].every((id) => id === 0n || id === 1n)).toBe(true);
  });

  it('makes nothing that would be too large', () => {
    expect(sampleInputs([{ name: 'x', dtype: 'float32', shape: [2 ** 30, 2 ** 30] }])).toEqual([]);
  });
});
