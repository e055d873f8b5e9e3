import { describe, expect, it } from 'vitest';
import { chooseSetting, combineRounds, type TuneResult } from './choose-setting.js';
import { tuneStory } from './tune-story.js';
import { batchCostText, tuneTable } from './tune-table.js';

/** Runs of a model that take so long for one and for eight items. */
function results(oneMs: number, eightMs: number, throughputs: readonly number[] = [100]): TuneResult[] {
  const times = [
    [1, oneMs],
    [8, eightMs],
  ] as const;
  return times.map(([batchSize, ms]) =>
    combineRounds(
      { workers: 1, intraOpThreads: 1, batchSize },
      2 * batchSize,
      throughputs.map((throughput) => ({
        inputs: [],
        throughput: throughput * batchSize,
        p50Ms: ms,
        p99Ms: 2 * ms,
        cpuMsPerRequest: 0.5,
        peakRssMb: 99.6,
        runTimes: [{ items: batchSize, runs: 100, ms }],
      })),
    ),
  );
}

const failed: TuneResult = {
  setting: { workers: 2, intraOpThreads: 1, batchSize: 1 },
  callers: 4,
  failure: 'Out of resources',
};

describe('tuneTable', () => {
  it('marks the best setting and says what failed', () => {
    const all = [...results(1, 2, [90, 110]), failed];
    expect(tuneTable(all, chooseSetting(all))).toBe(
      [
        'workers  threads  batch  callers   /s     ±  p50 ms  p99 ms  CPU ms  peak MB',
        '1              1      1        2  100  10 %    1.00    2.00   0.500      100',
        '1              1      8       16  800  10 %    2.00    4.00   0.500      100            ← best',
        '2              1      1        4    -     -       -       -       -        -  Out of resources',
        '',
      ].join('\n'),
    );
  });
});

describe('batchCostText', () => {
  it.each([
    [1, 2, /^a batch of n takes 0\.143·n \+ 0\.857 ms \(R² 1\.000\): batches can save up to 86 % /],
    [1, 8.7, /^a batch of n takes 1\.10·n - 0\.1\d* ms .*: batches save nothing in the run$/],
    [2, 1, /: too noisy to say what batches save$/],
  ])('judges runs of %d and %d ms', (oneMs, eightMs, text) => {
    const all = results(oneMs, eightMs);
    expect(batchCostText(all, chooseSetting(all)!)).toMatch(text);
  });

  it('says nothing of a single size', () => {
    const [one] = results(1, 2);
    expect(batchCostText([one!], chooseSetting([one!])!)).toBeUndefined();
  });
});

describe('tuneStory', () => {
  it('warns of a busy machine, and of what made-up inputs leave out', () => {
    const quiet = tuneStory('m.mar', chooseSetting(results(1, 2))!, 'a batch costs', false);
    expect(quiet).toHaveLength(4);
    expect(quiet[1]).toBe(
      'm.mar, 1 worker × 1 thread, batches of up to 8, 16 callers: 800 requests/s, p50 2.00 ms, p99 4.00 ms, ' +
        '0.500 ms of CPU a request, 100 MB at most.',
    );
    const noisy = tuneStory('m.mar', chooseSetting(results(1, 2, [50, 100, 150]))!, undefined, true).join(
      ' ',
    );
    expect(noisy).toContain('Its rounds differ by ±50 %');
    expect(noisy).toContain('--input FILE');
  });
});
