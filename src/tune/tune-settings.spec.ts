import { describe, expect, it } from 'vitest';
import { settingName, tuneSettings, type TuneLimits } from './tune-settings.js';

const limits: TuneLimits = {
  cores: 4,
  inputs: [{ name: 'x', dtype: 'float32', shape: ['n', 3] }],
  singleMs: 1,
};
const list = (given: Partial<TuneLimits> = {}) =>
  tuneSettings({ ...limits, ...given }).map(
    ({ workers, intraOpThreads, batchSize }) => `${workers}x${intraOpThreads}x${batchSize}`,
  );

describe('tuneSettings', () => {
  it('tries workers and threads that fit the cores', () => {
    expect(list({ batchSizes: [1] })).toEqual(['1x1x1', '1x2x1', '1x4x1', '2x1x1', '2x2x1', '4x1x1']);
    expect(list({ batchSizes: [1], cores: 1 })).toEqual(['1x1x1']);
    expect(list({ batchSizes: [1], cores: 2 })).toEqual(['1x1x1', '1x2x1', '2x1x1']);
  });

  it('tries exactly what it is told to, also more than there are cores', () => {
    expect(list({ workers: [1, 8], intraOpThreads: [2], batchSizes: [1, 64] })).toEqual([
      '1x2x1',
      '1x2x64',
      '8x2x1',
      '8x2x64',
    ]);
  });

  it('tries no batches that would take longer than a second, unless it is told to', () => {
    const one = { cores: 1 };
    expect(list(one)).toEqual(['1x1x1', '1x1x2', '1x1x4', '1x1x8', '1x1x16', '1x1x32']);
    expect(list({ ...one, singleMs: 100 })).toEqual(['1x1x1', '1x1x2', '1x1x4', '1x1x8']);
    expect(list({ ...one, singleMs: 5000 })).toEqual(['1x1x1']);
    expect(list({ ...one, singleMs: 100, batchSizes: [32] })).toEqual(['1x1x32']);
  });

  it('tries no batches that the model does not take', () => {
    const input = (rows: number | string) => ({ name: 'x', dtype: 'float32', shape: [rows, 3] }) as const;
    expect(list({ cores: 1, inputs: [input(1)] })).toEqual(['1x1x1']);
    expect(list({ cores: 1, inputs: [input('n'), input(6)], batchSizes: [2, 8, 16] })).toEqual([
      '1x1x2',
      '1x1x6',
    ]);
  });
});

describe('settingName', () => {
  it.each([
    [{ workers: 1, intraOpThreads: 1, batchSize: 1 }, '1 worker × 1 thread, no batches'],
    [{ workers: 2, intraOpThreads: 4, batchSize: 8 }, '2 workers × 4 threads, batches of up to 8'],
  ])('words %j', (setting, name) => {
    expect(settingName(setting)).toBe(name);
  });
});
