import { describe, expect, it } from 'vitest';
import { chooseSetting, combineRounds, type TuneResult } from './choose-setting.js';
import type { Measurement } from './measurement.js';

type Figures = Partial<Measurement> & {
  readonly workers?: number;
  readonly threads?: number;
  readonly batch?: number;
};

const measurement = (figures: Partial<Measurement>): Measurement => ({
  inputs: [],
  throughput: 100,
  p50Ms: 5,
  p99Ms: 10,
  cpuMsPerRequest: 1,
  peakRssMb: 50,
  runTimes: [],
  ...figures,
});

const result = ({ workers = 1, threads = 1, batch = 1, ...figures }: Figures): TuneResult =>
  combineRounds({ workers, intraOpThreads: threads, batchSize: batch }, 2, [measurement(figures)]);

const failed: TuneResult = {
  setting: { workers: 9, intraOpThreads: 1, batchSize: 1 },
  callers: 2,
  failure: 'out of memory',
};

describe('combineRounds', () => {
  it('takes medians, the largest memory, and the spread of the throughput', () => {
    const rounds = [
      measurement({ throughput: 90, p99Ms: 12, peakRssMb: 60, runTimes: [{ items: 1, runs: 4, ms: 3 }] }),
      measurement({ throughput: 100, p99Ms: 50, peakRssMb: 55, runTimes: [{ items: 1, runs: 4, ms: 1 }] }),
      measurement({ throughput: 130, p99Ms: 10, peakRssMb: 50, runTimes: [{ items: 1, runs: 4, ms: 2 }] }),
    ];
    expect(combineRounds(failed.setting, 2, rounds).measured).toEqual({
      throughput: 100,
      spread: 0.2,
      p50Ms: 5,
      p99Ms: 12,
      cpuMsPerRequest: 1,
      peakRssMb: 60,
      runTimes: [{ items: 1, runs: 12, ms: 2 }],
    });
  });
});

describe('chooseSetting', () => {
  it('takes the highest throughput', () => {
    const results = [result({ throughput: 100 }), result({ throughput: 200, workers: 2 }), failed];
    expect(chooseSetting(results)).toEqual({
      best: results[1],
      reason: 'the highest throughput of 2 settings',
    });
  });

  it('takes the least CPU among those within 3 %', () => {
    const results = [
      result({ throughput: 100, cpuMsPerRequest: 1, workers: 2 }),
      result({ throughput: 98, cpuMsPerRequest: 0.5, workers: 4 }),
      result({ throughput: 96, cpuMsPerRequest: 0.1, workers: 1 }),
    ];
    const { best, reason } = chooseSetting(results)!;
    expect(best).toBe(results[1]);
    expect(reason).toBe(
      'within 3 % of the highest throughput of 3 settings, like 2 workers × 1 thread, no batches; of these it needs the least CPU',
    );
  });

  it('takes what differs less than the rounds of the fastest for equal, up to a half', () => {
    const fast = (setting: number, ...throughputs: number[]) =>
      combineRounds(
        { workers: setting, intraOpThreads: 1, batchSize: 1 },
        2,
        throughputs.map((throughput) => measurement({ throughput })),
      );
    const results = [fast(3, 80, 100, 120), fast(2, 85), fast(1, 75)];
    const { best, reason } = chooseSetting(results)!;
    expect(best).toBe(results[1]);
    expect(reason).toContain('within 20 % of the highest throughput of 3 settings');
    expect(chooseSetting([fast(2, 10, 100, 300), fast(1, 49)])!.best.setting.workers).toBe(2);
  });

  it('takes the smallest among those that need the same CPU', () => {
    const results = [
      result({ throughput: 100, workers: 2, batch: 1 }),
      result({ throughput: 99, workers: 1, threads: 2, batch: 4, cpuMsPerRequest: 1.02 }),
      result({ throughput: 98, workers: 1, threads: 2, batch: 2 }),
    ];
    const { best, reason } = chooseSetting(results)!;
    expect(best).toBe(results[2]);
    expect(reason).toContain('of these it is the smallest of those that need the least CPU');
  });

  it('keeps to the deadline', () => {
    const results = [
      result({ throughput: 500, p99Ms: 80, batch: 16 }),
      result({ throughput: 300, p99Ms: 40, batch: 4 }),
      result({ throughput: 100, p99Ms: 10 }),
    ];
    expect(chooseSetting(results, 50)).toMatchObject({
      best: results[1],
      reason: 'the highest throughput of the 2 of 3 settings with a p99 within 50 ms',
    });
    expect(chooseSetting(results, 5)).toEqual({
      best: results[2],
      reason: 'no setting has a p99 within 5 ms; this one has the lowest',
    });
  });

  it('chooses nothing when nothing works', () => {
    expect(chooseSetting([failed])).toBeUndefined();
    expect(chooseSetting([failed], 5)).toBeUndefined();
    expect(chooseSetting([])).toBeUndefined();
  });
});
