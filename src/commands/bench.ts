import { access, constants, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { MarlineError } from '#libs/common';
import { ARRIVALS, type Arrivals } from '../load/arrivals.js';
import { generatorName, loadName, machineName, problemOf, type BenchReport } from '../load/bench-report.js';
import { benchRuns } from '../load/bench-runs.js';
import { amount, benchTable } from '../load/bench-table.js';
import { bodiesOf, tensorBody } from '../load/load-bodies.js';
import { loadTarget, type LoadTarget } from '../load/load-target.js';
import { plotOf } from '../load/plot.js';
import { probe } from '../load/probe.js';
import { svgPlot } from '../load/svg-plot.js';
import { terminalPlot } from '../load/terminal-plot.js';
import { bearer, predictionUrl } from '../prediction-client.js';
import type { Terminal } from './predict.js';

interface BenchOptions {
  readonly url: string;
  readonly model?: string;
  readonly version?: string;
  readonly body?: readonly string[];
  readonly tensor?: readonly string[];
  readonly input: string;
  readonly contentType?: string;
  readonly token?: string;
  readonly header: readonly string[];
  readonly connections: number;
  readonly rate?: number;
  readonly sweep: boolean;
  readonly arrivals: Arrivals;
  readonly maxConnections: number;
  readonly duration: number;
  readonly warmup: number;
  readonly deadlineMs?: number;
  readonly timeoutMs: number;
  readonly svg?: string;
  readonly output?: string;
  readonly json: boolean;
}

const EXAMPLES = `
Examples:
  $ marline bench --model efficientnet --body coffee.jpg                     capacity with 8 connections
  $ marline bench --model mlp --tensor 'input=float32[1,128]' --rate 500 --arrivals poisson --deadline-ms 50
  $ marline bench --model mnist --body digits/*.png --sweep --svg mnist.svg --output mnist.json
  $ marline bench --url http://127.0.0.1:3000/hello --rate 100               any route of any HTTP server

Without --rate and --sweep the loop is closed: each connection sends its next request when the last one is answered. With
them it is open: requests are due at their times, whatever becomes of those before, and a latency lasts from then on.
429, 503, 504 and requests that could never be sent are results; other failures make the exit code 1. Ctrl-C ends
the run with the result so far.`;

/** `marline bench`: puts load on a running server. */
export function benchCommand(terminal: Terminal = process): Command {
  return new Command('bench')
    .description('measure throughput and latency of a running server under load')
    .option(
      '--url <url>',
      'address of the server; without --model, of the route itself',
      parseUrl,
      'http://127.0.0.1:8080',
    )
    .option('-m, --model <name>', 'the model to ask: /predictions/<name> below --url')
    .option('--version <version>', 'a version of the model other than its default')
    .option('--body <file...>', 'files that are sent in turn, as predict sends them; GET without any')
    .addOption(
      new Option(
        '--tensor <input...>',
        "send made-up tensors as JSON: 'name=dtype[1,128]' for each input",
      ).conflicts('body'),
    )
    .option('--input <name>', 'the input of the model that a NumPy array is for', 'input')
    .option('--content-type <type>', 'instead of what the bytes suggest')
    .option('--token <key>', 'the inference key in key_file.json of a server that asks for tokens')
    .option('-H, --header <line>', "sent with every request, such as 'X-Tenant: a'; repeatable", collect, [])
    .option('--connections <n>', 'clients of the closed loop', wholeNumber(1, 10_000), 8)
    .addOption(
      new Option('--rate <n>', 'open loop: requests per second')
        .argParser(positive(1_000_000))
        .conflicts('sweep'),
    )
    .option(
      '--sweep',
      'open loops at 25, 50, 75, 90 and 110 % of the capacity that a closed loop finds first',
      false,
    )
    .addOption(new Option('--arrivals <kind>', 'of an open loop').choices(ARRIVALS).default('constant'))
    .option(
      '--max-connections <n>',
      'requests under way at a time in an open loop',
      wholeNumber(1, 60_000),
      1000,
    )
    .option('--duration <seconds>', 'of each run', positive(86_400), 10)
    .option('--warmup <seconds>', 'of the same load before each run, not measured', atLeastZero(3600), 2)
    .option('--deadline-ms <ms>', 'count what is answered within this time as well', positive(3_600_000))
    .option('--timeout-ms <ms>', 'give a request up after this time', positive(3_600_000), 30_000)
    .option('--svg <file>', 'write the plot to a file')
    .option('--output <file>', 'write the result as JSON to a file')
    .option('--json', 'print the result as JSON instead of a table', false)
    .addHelpText('after', EXAMPLES)
    .action((options: BenchOptions, command: Command) => bench(options, command, terminal));
}

/** @throws MarlineError when nothing can be measured, and after the result when something beside overload went wrong */
async function bench(options: BenchOptions, command: Command, terminal: Terminal): Promise<void> {
  if (command.getOptionValueSource('arrivals') === 'cli' && options.rate === undefined && !options.sweep)
    command.error('error: --arrivals is for an open loop: add --rate or --sweep');
  if (options.version !== undefined && options.model === undefined)
    command.error('error: --version is of a model: add --model');
  if (options.token !== undefined && options.header.some((line) => /^\s*authorization\s*:/i.test(line)))
    command.error('error: --token and --header both say who asks: leave one of them out');
  for (const file of [options.svg, options.output]) if (file !== undefined) await checkWritable(file);
  const target = await targetOf(options);
  await probe(target, options.timeoutMs);
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once('SIGINT', interrupt);
  try {
    const report = await measure(target, options, interruption.signal, terminal);
    await publish(report, options, terminal);
    const reason = problemOf(report.runs);
    if (reason !== undefined) throw new MarlineError('PREDICTION_EXCEPTION', { reason });
  } finally {
    process.off('SIGINT', interrupt);
  }
}

async function measure(
  target: LoadTarget,
  { duration, warmup, ...options }: BenchOptions,
  signal: AbortSignal,
  { stderr }: Terminal,
): Promise<BenchReport> {
  const startedAt = new Date().toISOString();
  const runs = await benchRuns({
    ...options,
    target,
    durationMs: duration * 1000,
    warmupMs: warmup * 1000,
    signal,
    announce: (load) => {
      const rate = load.kind === 'open' ? `${amount(load.rate)} requests/s` : 'as fast as answered';
      stderr.write(`${loadName(load)}: ${rate}, ${warmup} + ${duration} s\n`);
    },
  });
  const { url, method, bodyBytes } = target;
  return {
    schema: 'marline-bench/1',
    startedAt,
    generator: generatorName(),
    machine: machineName(),
    target: { url, method, bodyBytes },
    warmupSeconds: warmup,
    timeoutMs: options.timeoutMs,
    deadlineMs: options.deadlineMs ?? null,
    runs,
  };
}

async function publish(
  report: BenchReport,
  { json, svg, output }: BenchOptions,
  { stdout }: Terminal,
): Promise<void> {
  const text = `${JSON.stringify(report, undefined, 2)}\n`;
  const plot = plotOf(report);
  if (json) stdout.write(text);
  else stdout.write(`${benchTable(report)}${plot === undefined ? '' : `\n${terminalPlot(plot)}`}`);
  if (output !== undefined) await writeFile(output, text);
  if (svg !== undefined && plot !== undefined) await writeFile(svg, svgPlot(plot));
}

async function targetOf(options: BenchOptions): Promise<LoadTarget> {
  const { url, model, version, body, tensor, input, contentType, token, header } = options;
  const bodies = tensor === undefined ? await bodiesOf(body ?? [], input) : [await tensorBody(tensor)];
  const payloads = contentType === undefined ? bodies : bodies.map((each) => ({ ...each, contentType }));
  const address = model === undefined ? url : predictionUrl({ url, model, version });
  const key = token === undefined ? [] : [`Authorization: ${bearer(token)}`];
  return loadTarget(new URL(address), payloads, [...key, ...header]);
}

/** Now and not after minutes of load. */
async function checkWritable(file: string): Promise<void> {
  await access(dirname(file), constants.W_OK).catch((cause: unknown) => {
    throw new MarlineError(
      'INVALID_INPUT',
      { reason: `${file} cannot be written: is its folder there?` },
      { cause },
    );
  });
}

function parseUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new InvalidArgumentError('Write it as http://host:port, such as http://127.0.0.1:8080.');
  if (url.username !== '' || url.password !== '')
    throw new InvalidArgumentError('It may hold no credentials: give them as --token or --header.');
  return value;
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function wholeNumber(least: number, most: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`);
  };
}

function positive(most: number): (value: string) => number {
  return (value) => {
    const number = atLeastZero(most)(value);
    if (number > 0) return number;
    throw new InvalidArgumentError('It is more than 0.');
  };
}

function atLeastZero(most: number): (value: string) => number {
  return (value) => {
    const number = /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
    if (number >= 0 && number <= most) return number;
    throw new InvalidArgumentError(`It is a number from 0 to ${most}.`);
  };
}
