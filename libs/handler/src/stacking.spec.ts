import { describe, expect, it } from 'vitest';
import { tensor } from '#libs/common';
import { isStackable, split, stack, stackRows, stackingKey } from './stacking.js';
import { TensorArena } from './tensor-arena.js';

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

  it('uses the memory of a large batch again, for each input its own', () => {
    const arena = new TensorArena();
    const width = 200_000;
    const inputs = ['x', 'y'].map((name) => ({ name, dtype: 'float32' as const, shape: ['batch', width] }));
    const row = (number: number) => tensor('float32', new Float32Array(width).fill(number), [1, width]);
    const stacked = (...numbers: number[]) => {
      const items = numbers.map((number) => ({ x: row(number), y: row(-number) }));
      return Object.values(stackRows(items, inputs, arena)).map(({ data }) => data as Float32Array);
    };
    const before = stacked(1, 2, 3);
    const after = stacked(4, 5);
    expect(after.map((data) => [data.length, data[0], data[width], data.at(-1)])).toEqual([
      [2 * width, 4, 5, 5],
      [2 * width, -4, -5, -5],
    ]);
    expect(after.map(({ buffer }, at) => buffer === before[at]?.buffer)).toEqual([true, true]);
    expect(after[0]?.buffer).not.toBe(after[1]?.buffer);
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
