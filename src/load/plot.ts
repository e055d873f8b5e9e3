import type { BenchReport } from './bench-report.js';
import { amount } from './bench-table.js';

/** Points in the order of x; y is above 0, because its axis is logarithmic. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Where an axis shows what. */
export interface Tick {
  readonly at: number;
  readonly text: string;
}

/** What is drawn, in a terminal or as SVG. */
export interface Plot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly xTicks: readonly Tick[];
  readonly yTicks: readonly Tick[];
  readonly series: readonly Series[];
}

/** A sweep as latency over offered rate; other runs as latency over percentiles. `undefined` when nothing was answered. */
export function plotOf({ runs, target }: BenchReport): Plot | undefined {
  const points = runs.flatMap(({ load, latencyMs }) =>
    load.kind === 'open' && load.capacityShare !== undefined && latencyMs !== null
      ? [{ x: load.rate, latencyMs }]
      : [],
  );
  if (points.length >= 2) {
    const line = (name: string, key: 'p50' | 'p99' | 'p999') => ({
      name,
      points: points.map(({ x, latencyMs }) => [x, latencyMs[key]] as const),
    });
    return withTicks(
      {
        title: target.url,
        xLabel: 'requests per second',
        yLabel: 'latency, ms',
        series: [line('p50', 'p50'), line('p99', 'p99'), line('p99.9', 'p999')],
      },
      points.map(({ x }) => ({ at: x, text: amount(x) })),
    );
  }
  const series = runs.flatMap(({ load, percentiles }) => {
    const curve = percentiles
      .filter(([percent]) => percent < 100)
      .map(([percent, ms]) => [ninesOf(percent), ms] as const);
    const name = load.kind === 'closed' ? `${load.connections} connections` : `${amount(load.rate)}/s`;
    return curve.length === 0 ? [] : [{ name, points: curve }];
  });
  if (series.length === 0) return undefined;
  const xTicks = [0, 50, 90, 99, 99.9, 99.99, 99.999].map((percent) => ({
    at: ninesOf(percent),
    text: `${percent}`,
  }));
  return withTicks({ title: target.url, xLabel: 'percentile', yLabel: 'latency, ms', series }, xTicks);
}

/** Where a value lies between the ends of an axis, from 0 to 1. */
export function position(value: number, ticks: readonly Tick[], scale: (value: number) => number): number {
  const [first = 0, last = 1] = [ticks[0]?.at, ticks.at(-1)?.at].map((at) => scale(at ?? 0));
  return last === first ? 0.5 : (scale(value) - first) / (last - first);
}

function withTicks(plot: Omit<Plot, 'xTicks' | 'yTicks'>, xTicks: readonly Tick[]): Plot {
  const values = plot.series.flatMap(({ points }) => points.map(([, y]) => y));
  return { ...plot, xTicks, yTicks: decades(Math.min(...values), Math.max(...values)) };
}

/** 90 % → 1, 99 % → 2, 99.9 % → 3. */
function ninesOf(percent: number): number {
  return -Math.log10(1 - percent / 100);
}

/** 1, 2 and 5 of each decade, from the last below the least value to the first above the largest. */
function decades(least: number, most: number): Tick[] {
  const ticks: Tick[] = [];
  for (let power = Math.floor(Math.log10(least)) - 1; ; power++) {
    for (const digit of [1, 2, 5]) {
      const at = digit * 10 ** power;
      if (at <= least) ticks.length = 0;
      ticks.push({ at, text: String(Number(at.toPrecision(1))) });
      if (at >= most && at > least) return ticks;
    }
  }
}
