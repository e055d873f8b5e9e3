import { describe, expect, it } from 'vitest';
import type { Tensor, TensorMetadata, Tensors } from '#libs/common';
import { SteadyRows } from './steady-rows.js';

const WIDTH = 3;
const value = (name: string, rows: number | string): TensorMetadata => ({
  name,
  dtype: 'float32',
  shape: [rows, WIDTH],
});

/** A session that doubles its input and needs `changeMs` more when the number of rows changes, by a clock of its own. */
function session(
  changeMs: number | ((rows: number) => number),
  { outputRows = 'batch' }: { outputRows?: number | string } = {},
) {
  const ran: number[] = [];
  let now = 0;
  return {
    ran,
    clock: () => now,
    inputs: [value('x', 'batch')],
    outputs: [value('y', outputRows)],
    run({ x }: Tensors): Tensors {
      const { shape, data } = x as Tensor;
      const rows = shape[0] ?? 0;
      now += 1 + (rows === ran.at(-1) ? 0 : typeof changeMs === 'number' ? changeMs : changeMs(rows));
      ran.push(rows);
      const doubled = Float32Array.from(data as Float32Array, (number) => 2 * number);
      return { y: { dtype: 'float32', shape: shape.slice(), data: doubled } };
    },
  };
}

function batch(rows: number): Tensors {
  const data = Float32Array.from({ length: rows * WIDTH }, (_, index) => index);
  return { x: { dtype: 'float32', shape: [rows, WIDTH], data } };
}

function learned(changeMs: Parameters<typeof session>[0], most = 16, options = {}) {
  const fake = session(changeMs, options);
  const rows = new SteadyRows(fake, most, fake.clock);
  rows.learn(batch(1));
  fake.ran.length = 0;
  return { fake, rows };
}

describe('SteadyRows', () => {
  it('fills batches up where a change is expensive, and answers what was asked', () => {
    const { fake, rows } = learned(300);
    expect(rows.isSteady).toBe(true);
    for (const count of [1, 3, 2, 4, 1, 7, 5]) {
      const { y } = rows.run(batch(count));
      expect(y?.shape).toEqual([count, WIDTH]);
      expect(Array.from(y?.data as Float32Array)).toEqual(
        Array.from({ length: count * WIDTH }, (_, at) => 2 * at),
      );
    }
    expect(fake.ran).toEqual([1, 4, 4, 4, 4, 8, 8]);
  });

  it('leaves batches alone where a change costs little', () => {
    const { fake, rows } = learned(3);
    expect(rows.isSteady).toBe(false);
    for (const count of [1, 3, 2]) rows.run(batch(count));
    expect(fake.ran).toEqual([1, 3, 2]);
  });

  it('never makes a batch larger than the largest, and leaves a request that is larger alone', () => {
    const { fake, rows } = learned(300, 6);
    for (const count of [5, 20, 1]) rows.run(batch(count));
    expect(fake.ran).toEqual([6, 20, 6]);
  });

  it('makes runs smaller again when their copies have taken as long as a change', () => {
    const { fake, rows } = learned(300);
    rows.run(batch(16));
    for (let run = 0; run < 2000; run++) rows.run(batch(run % 2 === 0 ? 3 : 1));
    expect(fake.ran.filter((count, at) => count !== fake.ran[at - 1])).toEqual([16, 4]);
    // A run takes a millisecond, of which seven eighths are wasted on average.
    expect(fake.ran.lastIndexOf(16)).toBeGreaterThan(300);
    expect(fake.ran.lastIndexOf(16)).toBeLessThan(400);
  });

  it('goes by the change to the many rows, which takes longer than the one that it learned from', () => {
    const { fake, rows } = learned((count) => 8 * count);
    rows.run(batch(16));
    for (let run = 0; run < 2000; run++) rows.run(batch(1));
    // 8 ms to one row, 128 ms to 16; fifteen sixteenths of each run's millisecond are wasted.
    expect(fake.ran.lastIndexOf(16)).toBeGreaterThan(130);
    expect(fake.ran.lastIndexOf(16)).toBeLessThan(145);
    expect(fake.ran.at(-1)).toBe(1);
  });

  it('does not make them smaller while some have use for their size', () => {
    const { fake, rows } = learned(300);
    for (let run = 0; run < 2000; run++) rows.run(batch(run % 200 === 0 ? 9 : 1));
    expect(new Set(fake.ran)).toEqual(new Set([16]));
  });

  it.each([
    ['has a fixed batch axis', { outputRows: 1 }, 16],
    ['takes single items only', {}, 1],
  ])('learns nothing of a model that %s', (_, options, most) => {
    const { fake, rows } = learned(300, most, options);
    for (const count of [1, 3]) rows.run(batch(count));
    expect(fake.ran).toEqual([1, 3]);
  });

  it('learns nothing of a model that refuses two rows', () => {
    const fake = session(300);
    const run = (inputs: Tensors): Tensors => {
      if (inputs['x']?.shape[0] !== 1) throw new Error('Reshape');
      return fake.run(inputs);
    };
    const rows = new SteadyRows({ ...fake, run }, 16, fake.clock);
    rows.learn(batch(1));
    expect(() => rows.run(batch(3))).toThrow('Reshape');
    expect(rows.run(batch(1))['y']?.shape).toEqual([1, WIDTH]);
  });

  it('fills up texts and indexes too, and gives up on outputs without rows', () => {
    const seen: Tensors[] = [];
    const fake = session(300);
    const rows = new SteadyRows(
      {
        ...fake,
        run: (inputs: Tensors): Tensors => {
          fake.run(batch(inputs['x']?.shape[0] ?? 0));
          seen.push(inputs);
          return { y: { dtype: 'float32', shape: [WIDTH], data: new Float32Array(WIDTH) } };
        },
      },
      16,
      fake.clock,
    );
    const mixed = (count: number): Tensors => ({
      x: {
        dtype: 'int64',
        shape: [count],
        data: BigInt64Array.from({ length: count }, (_, at) => BigInt(at)),
      },
      text: { dtype: 'string', shape: [count], data: Array.from({ length: count }, (_, at) => `t${at}`) },
    });
    rows.learn(mixed(1));
    seen.length = 0;
    const { y } = rows.run(mixed(3));
    expect(y?.shape).toEqual([WIDTH]);
    expect(Array.from(seen[0]?.['x']?.data as BigInt64Array)).toEqual([0n, 1n, 2n, 2n]);
    expect(seen[0]?.['text']?.data).toEqual(['t0', 't1', 't2', 't2']);
    rows.run(mixed(2));
    expect(seen.map(({ x }) => x?.shape[0])).toEqual([4, 3, 2]);
  });
});
