import { describe, expect, it } from 'vitest';
import { RunTimes } from './run-times.js';

const after = (runs: readonly (readonly [items: number, durationMs: number])[], times = new RunTimes()) => {
  for (const [items, durationMs] of runs) times.observe(items, durationMs);
  return times;
};
const repeat = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, index) => make(index));

describe('RunTimes', () => {
  it('predicts nothing before it has seen enough', () => {
    expect(after(repeat(4, () => [1, 10])).predict(1)).toBeUndefined();
    expect(after(repeat(5, () => [1, 10])).predict(1)).toBeCloseTo(10);
  });

  it('finds the line', () => {
    const times = after(repeat(50, (index) => [1 + (index % 8), 5 + 2 * (1 + (index % 8))]));
    expect(times.predict(1)).toBeCloseTo(7);
    expect(times.predict(16)).toBeCloseTo(37);
  });

  it('takes duration as proportional while all batches have one size', () => {
    expect(after(repeat(20, () => [4, 12])).predict(8)).toBeCloseTo(24);
  });

  it('never predicts that a larger batch is quicker, nor a negative time', () => {
    const falling = after(repeat(50, (index) => [1 + (index % 4), 10 - (index % 4)]));
    expect(falling.predict(100)).toBeGreaterThanOrEqual(falling.predict(1) ?? Infinity);
    const steep = after(repeat(50, (index) => [2 + (index % 2), 1 + 9 * (index % 2)]));
    expect(steep.predict(1)).toBeGreaterThan(0);
  });

  it('tells by how much runs miss their prediction', () => {
    expect(after(repeat(300, () => [1, 10])).scatter).toBeCloseTo(0);
    expect(after(repeat(300, (index) => [1, index % 2 === 0 ? 8 : 12])).scatter).toBeCloseTo(0.2, 1);
  });

  it('follows a change, and is not thrown off by a single run that was interrupted', () => {
    const times = after(repeat(50, () => [1, 10]));
    expect(after([[1, 10_000]], times).predict(1)).toBeLessThan(12);
    expect(
      after(
        repeat(300, () => [1, 50]),
        times,
      ).predict(1),
    ).toBeCloseTo(50, 0);
    expect(
      after(
        repeat(300, () => [1, 2]),
        times,
      ).predict(1),
    ).toBeCloseTo(2, 0);
  });

  it('ignores what cannot be', () => {
    expect(after([...repeat(5, () => [1, 10] as const), [0, 5], [1, -1], [1, NaN]]).predict(1)).toBeCloseTo(
      10,
    );
  });
});
