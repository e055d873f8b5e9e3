import { describe, expect, it } from 'vitest';
import { ARRIVALS, arrivalTimes, seededRandom, type Arrivals } from './arrivals.js';

function times(arrivals: Arrivals, rate: number, count: number, seed = 1): number[] {
  const source = arrivalTimes(arrivals, rate, seededRandom(seed));
  return Array.from({ length: count }, () => source.next().value);
}

function spread(values: readonly number[]): { mean: number; variation: number } {
  const gaps = values.slice(1).map((value, index) => value - values[index]!);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  return { mean, variation: Math.sqrt(variance) / mean };
}

describe('arrivalTimes', () => {
  it('gives equal gaps that do not drift', () => {
    expect(times('constant', 3, 4)).toEqual([0, 1000 / 3, 2000 / 3, 1000]);
    expect(times('constant', 300, 300_001).at(-1)).toBeCloseTo(1_000_000, 9);
  });

  it.each([
    ['poisson', 1],
    ['bursts', 3],
  ] as const)('gives %s the mean rate, with gaps that vary by %d', (arrivals, expected) => {
    const { mean, variation } = spread(times(arrivals, 500, 400_000));
    expect(mean).toBeCloseTo(2, 1);
    expect(Math.abs(variation / expected - 1)).toBeLessThan(0.03);
  });

  it.each(ARRIVALS)('begins %s at 0 and never goes back', (arrivals) => {
    const all = times(arrivals, 1000, 10_000);
    expect(all[0]).toBe(0);
    expect(all).toEqual(all.toSorted((a, b) => a - b));
    expect(all.every(Number.isFinite)).toBe(true);
  });

  it('repeats itself for a seed, and only for that seed', () => {
    expect(times('bursts', 10, 100, 7)).toEqual(times('bursts', 10, 100, 7));
    expect(times('poisson', 10, 100, 7)).not.toEqual(times('poisson', 10, 100, 8));
  });
});
