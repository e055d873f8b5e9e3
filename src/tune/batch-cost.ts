/** How long runs of so many items took. */
export interface RunTimes {
  readonly items: number;
  readonly runs: number;
  /** The lower quartile: whatever else the machine does makes runs longer, never shorter. */
  readonly ms: number;
}

/** `duration = perItemMs · n + fixedMs`, and the share of the variance between sizes that this explains. */
export interface BatchCost {
  readonly perItemMs: number;
  readonly fixedMs: number;
  readonly r2: number;
}

/** From so many runs on, more of them make a size no more certain. */
const RUNS_THAT_COUNT = 100;

/** The line of least squares, sizes with many runs heavier; `undefined` for fewer than two sizes. */
export function fitBatchCost(times: readonly RunTimes[]): BatchCost | undefined {
  if (times.length < 2) return undefined;
  const weights = times.map(({ runs }) => Math.min(runs, RUNS_THAT_COUNT));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  const mean = (of: (time: RunTimes) => number) =>
    times.reduce((sum, time, index) => sum + weights[index]! * of(time), 0) / all;
  const [meanItems, meanMs] = [mean(({ items }) => items), mean(({ ms }) => ms)];
  const covariance = mean(({ items, ms }) => (items - meanItems) * (ms - meanMs));
  const perItemMs = covariance / mean(({ items }) => (items - meanItems) ** 2);
  const fixedMs = meanMs - perItemMs * meanItems;
  const total = mean(({ ms }) => (ms - meanMs) ** 2);
  const left = mean(({ items, ms }) => (ms - perItemMs * items - fixedMs) ** 2);
  return { perItemMs, fixedMs, r2: total === 0 ? 1 : 1 - left / total };
}

/** Sizes with fewer runs tell more about the scheduler than about the model. */
const FEWEST_RUNS = 3;

/** The same sizes of several measurements as one, by the median of their times; rare sizes are left out. */
export function mergeRunTimes(all: readonly RunTimes[]): RunTimes[] {
  return [...new Set(all.map(({ items }) => items))]
    .toSorted((a, b) => a - b)
    .map((items) => {
      const times = all.filter((time) => time.items === items);
      return {
        items,
        runs: times.reduce((sum, { runs }) => sum + runs, 0),
        ms: median(times.map(({ ms }) => ms)),
      };
    })
    .filter(({ runs }) => runs >= FEWEST_RUNS);
}

/** The middle value, or the mean of the two in the middle; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}
