import { describe, expect, it } from 'vitest';
import { seededRandom } from './arrivals.js';
import { LatencyHistogram } from './latency.js';

describe('LatencyHistogram', () => {
  it('keeps percentiles of milliseconds to minutes within 0.2 %', () => {
    const random = seededRandom(3);
    const values = Array.from({ length: 50_000 }, () => 10 ** (5 * random())).toSorted((a, b) => a - b);
    const histogram = new LatencyHistogram();
    for (const value of values) histogram.record(value);
    for (const share of [1, 50, 90, 99, 99.9]) {
      const exact = values[Math.ceil((share / 100) * values.length) - 1]!;
      expect(Math.abs(histogram.percentile(share) / exact - 1)).toBeLessThan(0.002);
    }
  });

  it('is exact for a few values in whole microseconds', () => {
    const histogram = new LatencyHistogram();
    for (const value of [0.5, 0.25, 1, 0.75]) histogram.record(value);
    expect(histogram.summary()).toEqual({
      count: 4,
      mean: 0.625,
      min: 0.25,
      p50: 0.5,
      p90: 1,
      p95: 1,
      p99: 1,
      p999: 1,
      max: 1,
    });
  });

  it('has no summary of nothing', () => {
    expect(new LatencyHistogram().summary()).toBeUndefined();
  });

  it('takes zero, and an eternity as an hour', () => {
    const histogram = new LatencyHistogram();
    histogram.record(0);
    histogram.record(1e12);
    const { min, max } = histogram.summary()!;
    expect(min).toBe(0.001);
    expect(max / 3_600_000).toBeCloseTo(1, 3);
  });
});
