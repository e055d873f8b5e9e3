import { spawn, type ChildProcess } from 'node:child_process';
import { homedir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { finished } from 'node:stream/promises';
import { MarlineError, messageOf, systemClock } from '#libs/common';
import { envOf } from '#libs/pool';

/** One run of a Python program. */
export interface PythonRun {
  /** Name or path of the interpreter. */
  readonly python: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Stands in for the home directory and takes temporary files. */
  readonly privateDir: string;
  readonly timeoutMs: number;
  /** Ends it at once. */
  readonly signal: AbortSignal;
}

/** How it ended. */
export interface PythonOutcome {
  /** `exit code 1`, `signal SIGSEGV`, … */
  readonly ended: string;
  /** The last of what it printed, on either stream. */
  readonly output: string;
}

const MAX_OUTPUT = 16_384;
const LAST_OUTPUT_MS = 1000;
/** Of this process's environment, all that the program gets: what finds programs and libraries, and no secrets. */
const PASSED_ON = ['PATH', 'LANG', 'LC_ALL', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SYSTEMROOT'];

/**
 * Runs a Python program to its end, in a process group of its own that is killed with all that it started.
 * @throws MarlineError `RUNTIME_UNSUPPORTED` without an interpreter, `PREDICTION_EXCEPTION` beyond the time, `REQUEST_CANCELLED`
 */
export async function runPython(run: PythonRun): Promise<PythonOutcome> {
  const { python, args, cwd, timeoutMs, signal } = run;
  signal.throwIfAborted();
  const interpreter = python.includes(sep) ? resolve(python) : python;
  const child = spawn(interpreter, ['-B', '-u', ...args], {
    cwd,
    env: environment(run.privateDir),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-MAX_OUTPUT);
    });
  }
  const killGroup = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // They are gone already.
    }
  };
  let isLate = false;
  const stopTimer = systemClock.after(timeoutMs, () => {
    isLate = true;
    killGroup();
  });
  signal.addEventListener('abort', killGroup, { once: true });
  process.on('exit', killGroup);
  try {
    const ended = await new Promise<string>((done, fail) => {
      child.once('error', fail);
      // Not 'close': a process that it left behind would keep the streams open.
      child.once('exit', (code, by) => done(by === null ? `exit code ${code}` : `signal ${by}`));
    });
    killGroup();
    await untilRead(child);
    if (signal.aborted) throw new MarlineError('REQUEST_CANCELLED');
    if (isLate)
      throw new MarlineError('PREDICTION_EXCEPTION', {
        reason: `Python did not finish within ${timeoutMs} ms: allow more with --timeout-ms.`,
      });
    return { ended, output };
  } catch (error) {
    if (child.pid !== undefined) throw error;
    throw new MarlineError(
      'RUNTIME_UNSUPPORTED',
      {
        reason: `Python cannot be started as "${python}" (${messageOf(error)}). Install Python 3, or name an interpreter that has PyTorch, such as --python venv/bin/python.`,
      },
      { cause: error },
    );
  } finally {
    stopTimer();
    signal.removeEventListener('abort', killGroup);
    process.off('exit', killGroup);
    killGroup();
  }
}

/** Until what it printed last has arrived; one that left the process group could hold the streams open for ever. */
async function untilRead(child: ChildProcess): Promise<void> {
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null);
  let stop = () => {};
  const late = new Promise<void>((done) => {
    stop = systemClock.after(LAST_OUTPUT_MS, done);
  });
  await Promise.race([Promise.allSettled(streams.map((stream) => finished(stream))), late]);
  stop();
  for (const stream of streams) stream.destroy();
}

function environment(privateDir: string): NodeJS.ProcessEnv {
  return {
    ...envOf(PASSED_ON),
    HOME: privateDir,
    TMPDIR: privateDir,
    // Packages that were installed for this user are found although the home directory is another.
    PYTHONUSERBASE: process.env['PYTHONUSERBASE'] ?? join(homedir(), '.local'),
    PYTHONIOENCODING: 'utf-8',
    // Without a GPU on all machines alike: the model is exported for the CPU.
    CUDA_VISIBLE_DEVICES: '',
  };
}
