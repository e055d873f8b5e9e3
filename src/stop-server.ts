import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MarlineError } from '#libs/common';
import { readPidFile, type PidFileState } from './pid-file.js';

/** Twice the time that requests under way have by default. */
const LIMIT_MS = 60_000;
const POLL_MS = 50;

/**
 * Asks the server of a PID file to stop, and resolves when it has: its ports are free then, and what it accepted is answered.
 * @returns what happened, as lines for people
 * @throws MarlineError `OPTIONS_INVALID` when the file names no server of ours (nothing is signalled then), or the server is
 *   still answering after a minute
 */
export async function stopServer(path: string): Promise<string> {
  const state = readPidFile(path);
  switch (state.kind) {
    case 'absent':
      return 'Marline is not currently running.\n';
    case 'orphan':
      rmSync(path, { force: true });
      return 'Removing orphan pid file.\nMarline is not currently running.\n';
    case 'foreign':
      throw new MarlineError('OPTIONS_INVALID', { reason: state.reason });
    case 'running':
      signal(state.server.pid);
      await untilEnded(path, state.server.pid);
      return 'Marline has stopped.\n';
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    // It has ended since the file was read.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The server gives the file up as the last thing that it does. */
async function untilEnded(path: string, pid: number): Promise<void> {
  const names = (state: PidFileState) => state.kind === 'running' && state.server.pid === pid;
  const giveUpAt = performance.now() + LIMIT_MS;
  while (names(readPidFile(path))) {
    if (performance.now() > giveUpAt) {
      const reason = `Process ${pid} still answers what it accepted, after ${LIMIT_MS} ms. It ends by itself; drain_timeout_ms limits how late.`;
      throw new MarlineError('OPTIONS_INVALID', { reason });
    }
    await sleep(POLL_MS);
  }
  if (readPidFile(path).kind === 'orphan') rmSync(path, { force: true });
}
