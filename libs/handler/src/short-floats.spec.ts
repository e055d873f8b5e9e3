import { describe, expect, it } from 'vitest';
import { shortFloatsText } from './short-floats.js';

const textOf = (...values: number[]) => shortFloatsText(Float32Array.from(values), 0, values.length);

describe('shortFloatsText', () => {
  it.each([
    [0, '0'],
    [-0, '0'],
    [1, '1'],
    [-1.5, '-1.5'],
    [0.1, '0.1'],
    [10, '10'],
    [123456.7, '123456.7'],
    [16777216, '16777216'],
    [999999900, '999999900'],
    [0.0805417001247406, '0.0805417'],
    [0.000002, '0.000002'],
    [0.000001, '9.999999974752427e-7'],
    [-0.00123, '-0.00123'],
    [1 / 3, '0.33333334'],
    [1e9, '1000000000'],
    [1e21, '1.0000000200408773e+21'],
    [1e-7, '1.0000000116860974e-7'],
    [1.401298464324817e-45, '1.401298464324817e-45'],
    [3.4028234663852886e38, '3.4028234663852886e+38'],
    [Number.NaN, 'null'],
    [Infinity, 'null'],
    [-Infinity, 'null'],
  ])('writes %d as %s', (value, text) => {
    expect(textOf(value)).toBe(text);
  });

  it('writes what is asked for, and commas between', () => {
    expect(textOf()).toBe('');
    expect(shortFloatsText(Float32Array.of(9, 1, 2.5, 9), 1, 3)).toBe('1,2.5');
  });

  it('gives texts that read back as the same 32 bits, also at the borders of powers', () => {
    const bits = new Uint32Array(60_000);
    const values = new Float32Array(bits.buffer);
    let state = 11;
    for (let index = 0; index < bits.length; index++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      bits[index] = state;
    }
    const powers = Array.from({ length: 60 }, (_, index) => 10 ** (index - 30)).concat(
      Array.from({ length: 200 }, (_, index) => 2 ** (index - 100)),
    );
    let next = 0;
    for (const power of powers) {
      values[next] = power;
      const near = bits[next] as number;
      bits.set([near - 1, near, near + 1], next);
      next += 3;
    }
    const finite = values.filter(Number.isFinite);
    const read = JSON.parse(`[${shortFloatsText(finite, 0, finite.length)}]`) as number[];
    expect(read).toHaveLength(finite.length);
    const wrong = finite.filter((value, index) => Math.fround(read[index] as number) !== value);
    expect(Array.from(wrong)).toEqual([]);
  });
});
