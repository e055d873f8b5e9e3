import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Latencies in milliseconds. */
export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** An hour, in microseconds: what takes longer counts as that. */
const LONGEST_US = 3_600_000_000;

/**
 * Counts latencies in microseconds in Node's HDR histogram with three significant figures: a percentile is off by at most
 * 0.1 % (or 0.5 µs), however many values there are.
 */
export class LatencyHistogram {
  readonly #histogram: RecordableHistogram = createHistogram({ lowest: 1, highest: LONGEST_US, figures: 3 });

  get count(): number {
    return this.#histogram.count;
  }

  record(ms: number): void {
    this.#histogram.record(Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1000))));
  }

  /** The latency in milliseconds that `share` per cent of the values do not exceed, 0 < share ≤ 100. */
  percentile(share: number): number {
    return this.#histogram.percentile(share) / 1000;
  }

  /** `undefined` without any value. */
  summary(): LatencySummary | undefined {
    const { count, mean, min, max } = this.#histogram;
    if (count === 0) return undefined;
    return {
      count,
      mean: Math.round(mean) / 1000,
      min: min / 1000,
      p50: this.percentile(50),
      p90: this.percentile(90),
      p95: this.percentile(95),
      p99: this.percentile(99),
      p999: this.percentile(99.9),
      max: max / 1000,
    };
  }
}
