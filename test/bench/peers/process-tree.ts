import { readFileSync, readdirSync } from 'node:fs';

/** Clock ticks a second in `/proc`: 100 on every Linux that Node.js runs on. */
const TICKS = 100;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  readonly cpuSeconds: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name may hold blanks and brackets; what follows the last bracket may not.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const number = (at: number) => Number(fields[at]);
    return { pid, parent: number(1), session: number(3), cpuSeconds: (number(11) + number(12)) / TICKS };
  } catch {
    return undefined;
  }
}

/**
 * A server's processes: all of its session (servers are started as session leaders, and orphans stay in it) and their
 * descendants. Parents before children.
 */
export function treeOf(root: number): number[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? []);
  const found = new Set(all.filter(({ session }) => session === root).map(({ pid }) => pid));
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return [...found].toSorted((a, b) => a - b);
}

/** User and system time that these processes have used so far, in seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (statOf(pid)?.cpuSeconds ?? 0), 0);
}

/** Memory of these processes in MB: PSS counts a page that several share once. */
export function memory(pids: readonly number[]): { pssMb: number; rssMb: number } {
  let pss = 0;
  let rss = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      const kilobytes = (field: string) =>
        Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
      pss += kilobytes('Pss');
      rss += kilobytes('Rss');
    } catch {
      // It has ended since the list was made.
    }
  }
  return { pssMb: pss / 1024, rssMb: rss / 1024 };
}

/** Stops parents before children and wakes children before parents, so that no parent misses a child. */
export function signalTree(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of signal === 'SIGCONT' ? pids.toReversed() : pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended already.
    }
  }
}

/** The machine's CPU time so far, in seconds: what all processes used, and what the host took away. */
export function machineCpu(): { busy: number; steal: number } {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = readFileSync(
    '/proc/stat',
    'utf8',
  )
    .split('\n', 1)[0]!
    .trim()
    .split(/\s+/)
    .slice(1)
    .map((ticks) => Number(ticks) / TICKS);
  return { busy: user + nice + system + irq + softirq, steal };
}
