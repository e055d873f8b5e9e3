import { median, mergeRunTimes } from './batch-cost.js';
import type { Measurement } from './measurement.js';
import { settingName, type TuneSetting } from './tune-settings.js';

/** What a setting did over all rounds. */
export interface TuneResult {
  readonly setting: TuneSetting;
  /** Requests under way at a time. */
  readonly callers: number;
  /** Medians of the rounds, the largest memory; `undefined` when a round failed. */
  readonly measured?: Omit<Measurement, 'inputs'> & {
    /** Half of the distance between the best and the worst round, as a share of the throughput. */
    readonly spread: number;
  };
  /** Why it failed. */
  readonly failure?: string;
}

/** Which setting, and why. */
export interface TuneChoice {
  readonly best: TuneResult & Required<Pick<TuneResult, 'measured'>>;
  readonly reason: string;
}

/** Differences below this share are noise, on the quietest machine. */
const NOISE = 0.03;
/** A machine that is noisier than this is measured again, not believed. */
const LARGEST_NOISE = 0.5;

/** One setting's rounds as one result. */
export function combineRounds(
  setting: TuneSetting,
  callers: number,
  rounds: readonly Measurement[],
): TuneResult {
  const middle = (of: (measurement: Measurement) => number) => median(rounds.map(of));
  const throughputs = rounds.map(({ throughput }) => throughput);
  return {
    setting,
    callers,
    measured: {
      throughput: median(throughputs),
      spread: (Math.max(...throughputs) - Math.min(...throughputs)) / 2 / median(throughputs),
      p50Ms: middle(({ p50Ms }) => p50Ms),
      p99Ms: middle(({ p99Ms }) => p99Ms),
      cpuMsPerRequest: middle(({ cpuMsPerRequest }) => cpuMsPerRequest),
      peakRssMb: Math.max(...rounds.map(({ peakRssMb }) => peakRssMb)),
      runTimes: mergeRunTimes(rounds.flatMap(({ runTimes }) => runTimes)),
    },
  };
}

/**
 * The setting with the highest throughput among those whose p99 is within the deadline. Of those within 3 % of it the
 * one that needs the least CPU; where that is within 3 % too, the one with the fewest workers, threads, and items in a batch.
 * When none keeps the deadline, the one with the lowest p99. Where the rounds of the fastest setting differ by more than ±3 %, that much takes the place of 3 %.
 * @returns `undefined` when every setting failed
 */
export function chooseSetting(results: readonly TuneResult[], deadlineMs?: number): TuneChoice | undefined {
  const measured = results.filter((result): result is TuneChoice['best'] => result.measured !== undefined);
  const inTime = measured.filter((result) => result.measured.p99Ms <= (deadlineMs ?? Infinity));
  if (inTime.length === 0) {
    const best = least(measured, (result) => result.measured.p99Ms);
    if (best === undefined) return undefined;
    return { best, reason: `no setting has a p99 within ${deadlineMs} ms; this one has the lowest` };
  }
  const { throughput, spread } = inTime.reduce((a, b) =>
    b.measured.throughput > a.measured.throughput ? b : a,
  ).measured;
  const noise = Math.min(LARGEST_NOISE, Math.max(NOISE, spread));
  const fast = inTime.filter((result) => result.measured.throughput >= throughput * (1 - noise));
  const leastCpu = Math.min(...fast.map((result) => result.measured.cpuMsPerRequest));
  const frugal = fast.filter((result) => result.measured.cpuMsPerRequest <= leastCpu * (1 + NOISE));
  const best = frugal.toSorted(
    ({ setting: a }, { setting: b }) =>
      a.workers - b.workers || a.intraOpThreads - b.intraOpThreads || a.batchSize - b.batchSize,
  )[0];
  if (best === undefined) return undefined;
  const among =
    deadlineMs === undefined
      ? `of ${measured.length} settings`
      : `of the ${inTime.length} of ${measured.length} settings with a p99 within ${deadlineMs} ms`;
  if (fast.length === 1) return { best, reason: `the highest throughput ${among}` };
  const others = fast.filter((result) => result !== best).map(({ setting }) => settingName(setting));
  const like = others.length > 3 ? `${others.length} others` : others.join('; ');
  const why =
    frugal.length === 1 ? 'needs the least CPU' : 'is the smallest of those that need the least CPU';
  const share = Math.round(100 * noise);
  return {
    best,
    reason: `within ${share} % of the highest throughput ${among}, like ${like}; of these it ${why}`,
  };
}

function least<T>(values: readonly T[], of: (value: T) => number): T | undefined {
  return values.toSorted((a, b) => of(a) - of(b))[0];
}
