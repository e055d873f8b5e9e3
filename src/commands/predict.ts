import { readFile, stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError } from 'commander';
import { MarlineError, messageOf } from '#libs/common';
import {
  describeRefusal,
  payloadOf,
  predict,
  readAnswer,
  type PredictionTarget,
  type ServerAnswer,
} from '../prediction-client.js';

interface PredictOptions {
  readonly model: string;
  readonly version?: string;
  readonly url: string;
  readonly token?: string;
  readonly input: string;
  readonly concurrency: number;
  readonly json: boolean;
}

/** Where the command writes: answers to `stdout`, all else to `stderr`. */
export interface Terminal {
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

type Outcome =
  | { readonly file: string; readonly answer: ServerAnswer }
  | { readonly file: string; readonly error: string };

const EXAMPLES = `
Examples:
  $ marline predict coffee.jpg --model efficientnet
  $ marline predict photos/*.jpg --model efficientnet --concurrency 8 > answers.jsonl
  $ marline predict features.npy --model fraud --input x

A single answer is written as it came; the answers to several files are JSON lines in the order of the files:
{"file":…,"status":…,"answer":…}. Timing goes to stderr. The exit code is 1 when a prediction fails.`;

/** `marline predict`: sends files to a running server. */
export function predictCommand(terminal: Terminal = process): Command {
  return new Command('predict')
    .description('send files to a running server and print its answers')
    .argument('<file...>', 'images, JSON, NumPy arrays (.npy) or any other files')
    .requiredOption('-m, --model <name>', 'the model to ask')
    .option('--version <version>', 'a version of the model other than its default')
    .option(
      '--url <url>',
      'address of the server, with the mount prefix of a gateway',
      parseUrl,
      'http://127.0.0.1:8080',
    )
    .option('--token <key>', 'the inference key in key_file.json of a server that asks for tokens')
    .option('--input <name>', 'the input of the model that a NumPy array is for', 'input')
    .option('--concurrency <n>', 'requests under way at a time', parseCount, 4)
    .option('--json', 'write JSON lines for a single file too', false)
    .addHelpText('after', EXAMPLES)
    .action((files: string[], options: PredictOptions) => predictFiles(files, options, terminal));
}

/**
 * @throws MarlineError when a file cannot be read (then nothing is sent), no server answers, or a prediction fails
 */
async function predictFiles(
  files: readonly string[],
  options: PredictOptions,
  terminal: Terminal,
): Promise<void> {
  for (const file of files) await checkFile(file);
  const started = performance.now();
  const lines = options.json || files.length > 1;
  const outcomes = await predictAll(files, options, terminal, (outcome) => {
    if (lines) terminal.stdout.write(`${toLine(outcome)}\n`);
    else if ('answer' in outcome && succeeded(outcome)) writeAnswer(outcome.answer.body, terminal);
  });
  report(outcomes, performance.now() - started, terminal);
}

async function predictAll(
  files: readonly string[],
  options: PredictOptions,
  { stderr }: Terminal,
  emit: (outcome: Outcome) => void,
): Promise<Outcome[]> {
  const bar = stderr.isTTY === true && files.length > 1 ? startBar(stderr, files.length) : undefined;
  const outcomes: Outcome[] = [];
  let next = 0;
  let emitted = 0;
  const worker = async () => {
    while (next < files.length) {
      const index = next++;
      outcomes[index] = await predictOne(files[index]!, options);
      bar?.increment();
      while (outcomes[emitted] !== undefined) emit(outcomes[emitted++]!);
    }
  };
  try {
    await Promise.all(Array.from({ length: options.concurrency }, worker));
  } finally {
    bar?.stop();
  }
  return outcomes;
}

async function predictOne(file: string, options: PredictOptions): Promise<Outcome> {
  const target: PredictionTarget = options;
  try {
    return { file, answer: await predict(target, payloadOf(await readFile(file), options.input)) };
  } catch (error) {
    return { file, error: messageOf(error) };
  }
}

function report(outcomes: readonly Outcome[], elapsedMs: number, { stderr }: Terminal): void {
  const failures = outcomes
    .filter((outcome) => !succeeded(outcome))
    .map((outcome) => `${outcome.file}: ${describe(outcome)}`);
  const times = outcomes
    .flatMap((outcome) => ('answer' in outcome ? [outcome.answer.elapsedMs] : []))
    .toSorted((a, b) => a - b);
  if (times.length > 0) stderr.write(`${summarise(times, elapsedMs)}\n`);
  if (failures.length === 0) return;
  const [first, ...others] = new Set(failures);
  const reason =
    outcomes.length === 1
      ? first
      : `${failures.length} of ${outcomes.length} predictions failed:\n${[first, ...others].join('\n')}`;
  throw new MarlineError('PREDICTION_EXCEPTION', { reason });
}

function summarise(times: readonly number[], elapsedMs: number): string {
  if (times.length === 1) return `answered in ${times[0]!.toFixed(1)} ms`;
  const quantile = (share: number) => times[Math.ceil(times.length * share) - 1]!.toFixed(1);
  const rate = (times.length / (elapsedMs / 1000)).toFixed(1);
  return `${times.length} answers in ${(elapsedMs / 1000).toFixed(2)} s (${rate}/s), p50 ${quantile(0.5)} ms, p95 ${quantile(0.95)} ms`;
}

function toLine(outcome: Outcome): string {
  if ('error' in outcome) return JSON.stringify({ file: outcome.file, status: 0, error: outcome.error });
  const { status, body } = outcome.answer;
  return JSON.stringify({ file: outcome.file, status, answer: readAnswer(body) });
}

function writeAnswer(body: Buffer, { stdout }: Terminal): void {
  stdout.write(body);
  // A shell's prompt belongs on a line of its own, a pipe gets the answer's own bytes only.
  if (stdout.isTTY === true && body.at(-1) !== 10) stdout.write('\n');
}

function succeeded(outcome: Outcome): boolean {
  return 'answer' in outcome && outcome.answer.status < 400;
}

function describe(outcome: Outcome): string {
  return 'answer' in outcome ? describeRefusal(outcome.answer) : outcome.error;
}

function startBar(stream: Writable, total: number): SingleBar {
  const bar = new SingleBar({
    stream,
    format: '{bar} {value}/{total} files | {eta_formatted} left',
    clearOnComplete: true,
    hideCursor: true,
  });
  bar.start(total, 0);
  return bar;
}

async function checkFile(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isFile() === true) return;
  const problem = found === undefined ? 'File not found' : 'Not a file';
  throw new MarlineError('INVALID_INPUT', { reason: `${problem}: ${file}. Nothing was sent.` });
}

function parseUrl(value: string): string {
  if (URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)) return value;
  throw new InvalidArgumentError('Write it as http://host:port, such as http://127.0.0.1:8080.');
}

function parseCount(value: string): number {
  const count = /^\d{1,4}$/.test(value) ? Number(value) : 0;
  if (count >= 1) return count;
  throw new InvalidArgumentError('It is a whole number from 1 up.');
}
