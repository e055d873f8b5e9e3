import { describe, expect, it } from 'vitest';
import { cpuMsOf, peakRssMbOf } from './process-usage.js';

const GONE = 2 ** 30;

describe.runIf(process.platform === 'linux')('process usage', () => {
  it('adds other processes to this one, once each', () => {
    const [own, other] = [process.pid, process.ppid];
    const alone = peakRssMbOf([own, own]);
    expect(alone).toBeGreaterThan(20);
    const both = peakRssMbOf([own, other]);
    expect(both).toBeGreaterThan(alone + 5);
    expect(peakRssMbOf([other, other])).toBeLessThan(both + 5);
    expect(cpuMsOf([other])).toBeGreaterThan(cpuMsOf([]));
  });

  it('counts a process that is gone as nothing', () => {
    expect(peakRssMbOf([GONE])).toBeLessThan(peakRssMbOf([process.ppid]));
    expect(cpuMsOf([GONE])).toBeGreaterThan(0);
  });
});
