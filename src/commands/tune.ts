import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { MarlineError, messageOf } from '#libs/common';
import { payloadOf } from '../prediction-client.js';
import { chooseSetting, type TuneResult } from '../tune/choose-setting.js';
import { measureSetting } from '../tune/measure-setting.js';
import { tuneModel } from '../tune/tune-model.js';
import { tuneStory } from '../tune/tune-story.js';
import { batchCostText, tuneTable } from '../tune/tune-table.js';
import { commentedConfig } from '../tune/tuned-config.js';
import type { Terminal } from './predict.js';

interface TuneOptions {
  readonly input?: string;
  readonly batchSizes?: readonly number[];
  readonly workers?: readonly number[];
  readonly threads?: readonly number[];
  readonly concurrency?: number;
  readonly deadlineMs?: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly output: string;
  readonly force: boolean;
  readonly json: boolean;
}

const EXAMPLES = `
Examples:
  $ marline tune models/fraud.mar
  $ marline tune resnet50.onnx --deadline-ms 200
  $ marline tune models/efficientnet.mar --input coffee.jpg --batch-sizes 1,4 --force

Each setting is measured in process and in a process of its own, in turn with all others. The best is the one with the highest
throughput whose p99 is within --deadline-ms; within 3 % of it (or what the rounds differ by) the one
that needs the least CPU, then the smallest. Put the
file into the archive with: marline archive … --config-file model-config.yaml`;

/** `marline tune`: finds the best batch size, workers and threads of a model on this machine. */
export function tuneCommand(terminal: Terminal = process): Command {
  return new Command('tune')
    .description(
      'measure batch sizes, workers and threads of a model on this machine, and write the best as model-config.yaml',
    )
    .argument('<model>', 'an archive (.mar, .tar.gz, folder) or an .onnx file')
    .option('--input <file>', 'a request that the model answers; tensors made for the model without it')
    .option('--batch-sizes <list>', 'instead of 1,2,4,8,16,32 (up to 1 s a batch)', parseList)
    .option('--workers <list>', 'instead of one, half of the cores and all', parseList)
    .option(
      '--threads <list>',
      'of one run inside ONNX Runtime, instead of one, half of the cores and all',
      parseList,
    )
    .option(
      '--concurrency <n>',
      'callers at a time, instead of two for each item that the workers take at once',
      parseCount,
    )
    .option('--deadline-ms <ms>', 'choose among the settings whose p99 is within this time', parseNumber)
    .option('--seconds <n>', 'measured of each setting in each round', parseNumber, 0.6)
    .option('--rounds <n>', 'of all settings', parseCount, 3)
    .option('--output <file>', 'where to write', 'model-config.yaml')
    .option('--force', 'overwrite the file', false)
    .option('--json', 'print the results as JSON instead of a table', false)
    .addHelpText('after', EXAMPLES)
    .action((model: string, options: TuneOptions) => tune(model, options, terminal));
}

/** @throws MarlineError when the model cannot be measured, the file is there already, or Ctrl-C came; then nothing is written */
async function tune(model: string, options: TuneOptions, terminal: Terminal): Promise<void> {
  if (!options.force && existsSync(options.output))
    throw invalid(
      `${options.output} exists already; nothing was measured. Choose another --output, or add --force.`,
    );
  if (!existsSync(dirname(options.output))) throw invalid(`The folder of ${options.output} is not there.`);
  const input = options.input === undefined ? undefined : await inputOf(options.input);
  // Nest takes half a second to load: the other commands do without.
  const { openTuneSource } = await import('../tune/tune-source.js');
  const source = await openTuneSource(model);
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once('SIGINT', interrupt);
  try {
    const results = await tuneModel({
      source,
      limits: {
        cores: availableParallelism(),
        batchSizes: options.batchSizes,
        workers: options.workers,
        intraOpThreads: options.threads,
      },
      input,
      concurrency: options.concurrency,
      rounds: options.rounds,
      sliceMs: options.seconds * 1000,
      measure: (order) => measureSetting(order, interruption.signal),
      isInterrupted: () => interruption.signal.aborted,
      announce: (text) => terminal.stderr.write(`${text}\n`),
    });
    const config = present(model, results, source.ownConfig, options, terminal);
    interruption.signal.throwIfAborted();
    await writeFile(options.output, config, { flag: options.force ? 'w' : 'wx' });
    terminal.stderr.write(`${options.output} was written.\n`);
  } catch (error) {
    throw interruption.signal.aborted ? failed('Interrupted: nothing was written.') : error;
  } finally {
    process.off('SIGINT', interrupt);
    await source.release();
  }
}

/**
 * Prints what was measured.
 * @returns the text of the best setting's file
 * @throws MarlineError when every setting failed
 */
function present(
  model: string,
  results: readonly TuneResult[],
  ownConfig: string,
  { input, deadlineMs, json }: TuneOptions,
  { stdout }: Terminal,
): string {
  const choice = chooseSetting(results, deadlineMs);
  if (choice === undefined) {
    const failure = results.find((result) => result.failure !== undefined)?.failure;
    throw failed(`No setting was measured${failure === undefined ? '' : `: ${failure}`}.`);
  }
  const story = tuneStory(basename(model), choice, batchCostText(results, choice), input === undefined);
  const report = { schema: 'marline-tune/1', model, results, best: choice.best.setting, story };
  if (json) stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
  else stdout.write(`${tuneTable(results, choice)}\n${story.join('\n')}\n`);
  return commentedConfig(ownConfig, choice.best.setting, story);
}

async function inputOf(file: string): Promise<{ readonly body: Uint8Array; readonly contentType: string }> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw invalid(`${file} cannot be read: ${messageOf(error)}.`);
  });
  const { body, contentType } = payloadOf(bytes, 'input');
  return { body: Buffer.from(body), contentType };
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}

function failed(reason: string): MarlineError {
  return new MarlineError('PREDICTION_EXCEPTION', { reason });
}

function parseList(value: string): readonly number[] {
  const numbers = /^\d{1,4}(?:,\d{1,4}){0,15}$/.test(value) ? value.split(',').map(Number) : [];
  if (numbers.length > 0 && numbers.every((number) => number >= 1 && number <= 1024))
    return [...new Set(numbers)].toSorted((a, b) => a - b);
  throw new InvalidArgumentError('Write it as whole numbers from 1 to 1024, such as 1,2,4.');
}

function parseCount(value: string): number {
  const count = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  if (count >= 1) return count;
  throw new InvalidArgumentError('It is a whole number from 1 up.');
}

function parseNumber(value: string): number {
  const number = /^\d{1,7}(?:\.\d+)?$/.test(value) ? Number(value) : 0;
  if (number > 0) return number;
  throw new InvalidArgumentError('It is a number above 0.');
}
