import { describe, expect, it } from 'vitest';
import { parseGpuUsage } from './gpu-usage.js';

describe('what nvidia-smi says', () => {
  it('is one GPU a line', () => {
    expect(parseGpuUsage('0, 35, 1024, 81559\n1, 0, 4, 81559\n')).toEqual([
      { index: '0', utilizationPercent: 35, memoryUsedMb: 1024, memoryTotalMb: 81559 },
      { index: '1', utilizationPercent: 0, memoryUsedMb: 4, memoryTotalMb: 81559 },
    ]);
  });

  it('may leave a value out, as in MIG mode', () => {
    expect(parseGpuUsage('0, [N/A], 87, 81559')).toEqual([
      { index: '0', utilizationPercent: Number.NaN, memoryUsedMb: 87, memoryTotalMb: 81559 },
    ]);
  });

  it.each(['', 'No devices were found', 'NVIDIA-SMI has failed, it, could, not', '0, 1, 2'])(
    'may be none: %j',
    (text) => {
      expect(parseGpuUsage(text)).toEqual([]);
    },
  );
});
