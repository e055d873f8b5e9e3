import { describe, expect, it } from 'vitest';
import { SystemMetrics } from './system-metrics.js';

describe('the machine', () => {
  it('is told in percent, megabytes and gigabytes that fit together', async () => {
    const told = new Map<string, number>();
    await new SystemMetrics((name, value, device) => told.set(`${name}${device ?? ''}`, value), 1000).read();
    const value = (name: string) => told.get(name) ?? Number.NaN;
    for (const name of ['CPUUtilization', 'MemoryUtilization', 'DiskUtilization']) {
      expect(value(name)).toBeGreaterThanOrEqual(0);
      expect(value(name)).toBeLessThanOrEqual(100);
    }
    const whole = value('MemoryUsed') + value('MemoryAvailable');
    expect(value('MemoryUtilization')).toBeCloseTo((value('MemoryUsed') / whole) * 100, 0);
    const disk = value('DiskUsage') + value('DiskAvailable');
    expect(value('DiskUtilization')).toBeCloseTo((value('DiskUsage') / disk) * 100, 0);
  });
});
