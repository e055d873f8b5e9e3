import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/** Names one run of one process: a process id alone would come back to life when the system hands it out again. */
export interface ProcessIdentity {
  /** Eight hex digits for the machine or container; processes of another one cannot be judged from here. */
  readonly host: string;
  readonly pid: number;
  /** When it started, in the system's own terms; compared for equality only. */
  readonly start: string;
}

const PATTERN = /^([0-9a-f]{8})\.(\d+)\.([0-9a-z-]+)(?=\.|$)/;

/** The identity of this process. */
export function thisProcess(): ProcessIdentity {
  own ??= { host: thisHost(), pid: process.pid, start: startOf(process.pid) ?? '0' };
  return own;
}

let own: ProcessIdentity | undefined;

/** As the start of a file name: `host.pid.start`. */
export function formatIdentity({ host, pid, start }: ProcessIdentity): string {
  return `${host}.${pid}.${start}`;
}

/** The identity at the start of a file name; `undefined` when there is none. */
export function parseIdentity(name: string): ProcessIdentity | undefined {
  const [, host, pid, start] = PATTERN.exec(name) ?? [];
  return host === undefined || start === undefined ? undefined : { host, pid: Number(pid), start };
}

/** False only when that process has certainly ended: one of another machine counts as alive. */
export function isAlive({ host, pid, start }: ProcessIdentity): boolean {
  if (host !== thisProcess().host) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const current = startOf(pid);
  return current === undefined || current === start;
}

// A container that is restarted keeps its host name, so what its last run left behind is known as dead.
function thisHost(): string {
  return createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
}

function startOf(pid: number): string | undefined {
  try {
    return process.platform === 'linux' ? linuxStart(pid) : otherStart(pid);
  } catch {
    return undefined;
  }
}

// Clock ticks since boot are unique only together with the boot.
function linuxStart(pid: number): string | undefined {
  const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
  // It has ended, but its parent never asked: a container whose first process is no shell is full of those.
  if (fields[0] === 'Z') return 'ended';
  const ticks = fields[19];
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  return ticks === undefined ? undefined : `${boot}-${ticks}`;
}

function otherStart(pid: number): string | undefined {
  if (process.platform === 'win32') return '0';
  const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
    encoding: 'utf8',
    env: { LC_ALL: 'C', PATH: process.env['PATH'] },
  });
  return String(Date.parse(started.trim()));
}
