import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Terminal } from './commands/predict.js';

/** A server that was started in the background, or what became of it. */
export interface BackgroundStart {
  readonly pid: number | undefined;
  /** The exit code of one that ended before it listened; 1 for one that was killed. */
  readonly failure?: number;
}

/**
 * Runs `marline serve` as a process of its own, which outlives this one and its terminal. What it prints is added to a file, for this
 * user alone, and up to its start to the terminal as well.
 * @param args what follows `serve`; it runs in the foreground of its own process
 * @returns when it listens, or has failed
 */
export async function startInBackground(
  args: readonly string[],
  logFile: string,
  { stdout, stderr }: Terminal,
): Promise<BackgroundStart> {
  mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
  const log = openSync(logFile, 'a+', 0o600);
  try {
    const { size } = fstatSync(log);
    const command = [...process.execArgv, process.argv[1]!, 'serve', '--foreground', ...args];
    const child = spawn(process.execPath, command, {
      detached: true,
      windowsHide: true,
      stdio: ['ignore', log, log, 'ipc'],
    });
    const failure = await failureOf(child);
    (failure === undefined ? stdout : stderr).write(readFrom(log, size));
    if (failure === undefined) {
      child.disconnect();
      child.unref();
    }
    return { pid: child.pid, failure };
  } finally {
    closeSync(log);
  }
}

/** What was added to a file, which may be large. */
function readFrom(file: number, start: number): Buffer {
  const added = Buffer.alloc(Math.max(0, fstatSync(file).size - start));
  return added.subarray(0, readSync(file, added, 0, added.length, start));
}

/** Resolves with nothing when the server says that it is ready. Ctrl-C ends the server that is about to start, too. */
function failureOf(child: ChildProcess): Promise<number | undefined> {
  const interrupt = () => {
    child.removeAllListeners('message');
    child.kill('SIGTERM');
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  return new Promise<number | undefined>((resolve, reject) => {
    child.once('message', () => resolve(undefined));
    child.once('exit', (code) => resolve(code || 1));
    child.once('error', reject);
  }).finally(() => process.off('SIGINT', interrupt).off('SIGTERM', interrupt));
}
