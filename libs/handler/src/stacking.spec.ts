import { describe, expect, it } from 'vitest';
import { tensor } from '#libs/common';
import { isStackable, split, stack, stackingKey } from './stacking.js';

const floats = (rows: number, ...values: number[]) =>
  tensor('float32', Float32Array.from(values), [rows, values.length / rows]);

describe('stacking', () => {
  it('joins items of any number of rows and cuts them apart again', () => {
    const items = [
      { x: floats(1, 1, 2), s: tensor('string', ['a'], [1]) },
      { x: floats(2, 3, 4, 5, 6), s: tensor('string', ['b', 'c'], [2]) },
    ];
    const stacked = stack(items);
    expect(stacked).toEqual({ x: floats(3, 1, 2, 3, 4, 5, 6), s: tensor('string', ['a', 'b', 'c'], [3]) });
    expect(split(stacked, [1, 2])).toEqual(items);
  });

  it('gives every part a buffer of its own', () => {
    const [first] = split({ x: floats(2, 1, 2, 3, 4) }, [1, 1]);
    expect((first?.['x']?.data as Float32Array | undefined)?.buffer.byteLength).toBe(8);
  });

  it('tells apart what cannot share a run', () => {
    const key = stackingKey({ x: floats(1, 1, 2) });
    expect(stackingKey({ x: floats(2, 1, 2, 3, 4) })).toBe(key);
    expect(stackingKey({ x: floats(1, 1, 2, 3) })).not.toBe(key);
    expect(stackingKey({ x: tensor('float64', new Float64Array(2), [1, 2]) })).not.toBe(key);
    expect(stackingKey({ y: floats(1, 1, 2) })).not.toBe(key);
  });

  it('finds no batch axis where first dimensions differ or are missing', () => {
    expect(stackingKey({ x: floats(1, 1), state: floats(2, 1, 2) })).toBeUndefined();
    expect(stackingKey({ rate: tensor('int64', new BigInt64Array(1), []) })).toBeUndefined();
  });

  it.each<[string, readonly (number | string)[][], boolean]>([
    ['a symbolic first dimension', [['batch', 3]], true],
    ['an unnamed first dimension', [['', 3]], true],
    ['a fixed batch axis', [[1, 3]], false],
    [
      'a state whose batch axis is the second',
      [
        ['N', 512],
        [2, 'N', 128],
      ],
      false,
    ],
    ['a scalar', [['N', 512], []], false],
    ['unknown inputs', [], false],
  ])('knows whether a model stacks: %s', (_what, shapes, stackable) => {
    expect(isStackable(shapes.map((shape, i) => ({ name: `i${i}`, dtype: 'float32' as const, shape })))).toBe(
      stackable,
    );
  });
});
