import { describe, expect, it } from 'vitest';
import { fitBatchCost, median, mergeRunTimes } from './batch-cost.js';

const times = (...all: [items: number, ms: number, runs?: number][]) =>
  all.map(([items, ms, runs = 50]) => ({ items, ms, runs }));

describe('fitBatchCost', () => {
  it('finds the line that durations lie on', () => {
    const { perItemMs, fixedMs, r2 } = fitBatchCost(times([1, 3.5], [2, 4], [8, 7], [32, 19]))!;
    expect(perItemMs).toBeCloseTo(0.5);
    expect(fixedMs).toBeCloseTo(3);
    expect(r2).toBeCloseTo(1);
  });

  it('believes sizes with many runs more than those with few', () => {
    const { perItemMs } = fitBatchCost(times([1, 1, 1000], [2, 2, 1000], [3, 30, 1]))!;
    expect(perItemMs).toBeLessThan(2);
  });

  it('says how much of the differences is no line', () => {
    expect(fitBatchCost(times([1, 1], [2, 9], [3, 2]))!.r2).toBeLessThan(0.1);
    expect(fitBatchCost(times([1, 5], [2, 5]))).toEqual({ perItemMs: 0, fixedMs: 5, r2: 1 });
  });

  it('needs two sizes', () => {
    expect(fitBatchCost(times([4, 1]))).toBeUndefined();
    expect(fitBatchCost([])).toBeUndefined();
  });
});

describe('mergeRunTimes', () => {
  it('puts the rounds of a size together and leaves rare sizes out', () => {
    expect(mergeRunTimes(times([4, 9, 2], [1, 3, 5], [4, 5, 2], [1, 1, 5], [1, 2, 5], [7, 1, 2]))).toEqual([
      { items: 1, ms: 2, runs: 15 },
      { items: 4, ms: 7, runs: 4 },
    ]);
  });
});

describe('median', () => {
  it.each([
    [[3, 1, 2], 2],
    [[4, 1, 2, 3], 2.5],
    [[7], 7],
  ])('of %j is %d', (values, middle) => {
    expect(median(values)).toBe(middle);
  });
});
