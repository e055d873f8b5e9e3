import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** How a GPU stands. */
export interface GpuUsage {
  /** Its number for the driver. */
  readonly index: string;
  readonly utilizationPercent: number;
  readonly memoryUsedMb: number;
  readonly memoryTotalMb: number;
}

const QUERY = '--query-gpu=index,utilization.gpu,memory.used,memory.total';
const TIMEOUT_MS = 10_000;

/** What `nvidia-smi` says about each GPU. @throws Error where there is no such command */
export async function gpuUsage(): Promise<readonly GpuUsage[]> {
  const options = { timeout: TIMEOUT_MS };
  const { stdout } = await promisify(execFile)(
    'nvidia-smi',
    [QUERY, '--format=csv,noheader,nounits'],
    options,
  );
  return parseGpuUsage(stdout);
}

/** Reads lines such as `0, 35, 1024, 81559`; what a GPU does not tell (`[N/A]`, as in MIG mode) is `NaN`. */
export function parseGpuUsage(csv: string): GpuUsage[] {
  return csv
    .split('\n')
    .map((line) => line.split(',').map((field) => field.trim()))
    .filter(([index = '', ...values]) => /^\d+$/.test(index) && values.length === 3)
    .map(([index = '', ...values]) => {
      const [utilizationPercent = NaN, memoryUsedMb = NaN, memoryTotalMb = NaN] = values.map(Number);
      return { index, utilizationPercent, memoryUsedMb, memoryTotalMb };
    });
}
