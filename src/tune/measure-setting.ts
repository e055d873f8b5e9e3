import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MarlineError, decodeError } from '#libs/common';
import type { Measurement, MeasurementAnswer, MeasurementOrder } from './measurement.js';

/** For loading the model and the answers under way at the end, beside the time that is measured. */
const GRACE_MS = 120_000;
const MAX_ERROR_OUTPUT = 2000;

/**
 * Measures one setting in a process of its own.
 * @param signal ends it at once
 * @throws MarlineError what the model or its handler said, `PREDICTION_EXCEPTION` when the process crashed or hung
 */
export async function measureSetting(order: MeasurementOrder, signal: AbortSignal): Promise<Measurement> {
  const child = fork(fileURLToPath(new URL('./measuring-process.js', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // The body of a request crosses as bytes.
    serialization: 'advanced',
    // A debugger's port can be taken only once.
    execArgv: process.execArgv.filter((argument) => !argument.startsWith('--inspect')),
  });
  let output = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-MAX_ERROR_OUTPUT);
  });
  const kill = () => child.kill('SIGKILL');
  const limitMs = order.warmupMs + order.durationMs + GRACE_MS;
  const timer = setTimeout(kill, limitMs);
  signal.addEventListener('abort', kill, { once: true });
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, by) => resolve(by === null ? `exit code ${code}` : `signal ${by}`));
  });
  const answered = new Promise<MeasurementAnswer>((resolve) => {
    child.once('message', (message) => resolve(message as MeasurementAnswer));
  });
  try {
    child.send(order, () => {});
    const answer = await Promise.race([answered, exited]);
    if (signal.aborted) throw new MarlineError('REQUEST_CANCELLED');
    if (typeof answer === 'string') {
      const reason = `The process that measures ended (${answer}); ${limitMs} ms were allowed.`;
      const cause = output === '' ? undefined : new Error(output);
      throw new MarlineError('PREDICTION_EXCEPTION', { reason }, { cause });
    }
    if (answer.kind === 'failed') throw decodeError(answer.error);
    return answer.measurement;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', kill);
    // The quick end: nothing in it is worth a shutdown, and SIGKILL is safe while native code runs.
    kill();
    await exited;
  }
}
