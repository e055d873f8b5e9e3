import { readFileSync } from 'node:fs';

/** Linux counts the CPU time of other processes in these, whatever its own timer does. */
const TICK_MS = 10;

/** Milliseconds of CPU that this process and those of `pids` have used. Other processes count on Linux only. */
export function cpuMsOf(pids: readonly number[]): number {
  const { user, system } = process.cpuUsage();
  return othersOf(pids).reduce(
    (sum, pid) => {
      // The name in parentheses may hold spaces and parentheses itself; user and system time are the 12th and 13th field after it.
      const fields = read(`/proc/${pid}/stat`).split(')').at(-1)?.trim().split(' ') ?? [];
      return sum + TICK_MS * (Number(fields[11] ?? 0) + Number(fields[12] ?? 0));
    },
    (user + system) / 1000,
  );
}

/** Megabytes that this process and those of `pids` had resident at most, each at its own worst moment. */
export function peakRssMbOf(pids: readonly number[]): number {
  return othersOf(pids).reduce(
    (sum, pid) => sum + Number(/^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024,
    process.resourceUsage().maxRSS / 1024,
  );
}

/** Workers that are threads have the process id of their process. */
function othersOf(pids: readonly number[]): number[] {
  return [...new Set(pids)].filter((pid) => pid !== process.pid);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
