import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { MarlineError, isMarlineError } from '#libs/common';
import type { ConvertOrder } from '../convert/convert-archive.js';
import { conversionReport } from '../convert/conversion-report.js';
import { parseModelInput, type ModelInput } from '../convert/model-input.js';
import type { Terminal } from './predict.js';

interface ConvertOptions {
  readonly input: readonly ModelInput[];
  readonly sample: readonly string[];
  readonly handler?: string;
  readonly python: string;
  readonly modelName?: string;
  readonly exportPath: string;
  readonly tolerance: number;
  readonly timeoutMs: number;
  readonly force: boolean;
}

const EXAMPLES = `
Examples:
  $ marline convert torch/resnet18.mar --export-path models                an image_classifier: its input is known
  $ marline convert torch/fraud.mar --input 1x30:float32 --handler tensor
  $ marline convert torch/mnist.mar --input 1x1x28x28 --handler mnist_handler.mjs --python venv/bin/python
  $ marline convert torch/bert.mar --sample ids.npy --sample mask.npy --handler bert_handler.mjs

Converting RUNS THE CODE of the archive, as you: its model file, and whatever its pickles and TorchScript hold. Convert only
archives that you trust; it takes no addresses. Python is a child process with the archive's folder as its
working directory, little of this environment, and a time limit, but it is no sandbox.

The archive is written only when this engine gives PyTorch's answers to several inputs and batch sizes.`;

/** `marline convert`: makes an ONNX archive of one with a PyTorch model. */
export function convertCommand(terminal: Terminal = process): Command {
  return new Command('convert')
    .description(
      "convert a PyTorch archive (eager or TorchScript) into an ONNX archive; runs the archive's code",
    )
    .argument('<archive>', 'a Python archive of this machine (.mar, .tar.gz, folder)')
    .option(
      '--input <shape>',
      'what the model takes, the batch axis first, such as 1x3x224x224:float32; repeatable',
      (text: string, before: readonly ModelInput[]) => [...before, parsed(text)],
      [],
    )
    .addOption(
      new Option('--sample <file.npy>', 'a NumPy array that the model takes, instead of --input; repeatable')
        .argParser((file: string, before: readonly string[]) => [...before, file])
        .default([], 'none')
        .conflicts('input'),
    )
    .option(
      '--handler <handler>',
      'a JavaScript file or the name of a handler, instead of the built-in one that does the same',
    )
    .option('--python <interpreter>', 'a Python that has PyTorch and what the model imports', 'python3')
    .option('--model-name <name>', "instead of the archive's own")
    .option('--export-path <folder>', 'an existing folder to write to', '.')
    .option(
      '--tolerance <part>',
      'largest difference of an answer, as a part of the largest value of that output',
      parsePart,
      1e-4,
    )
    .option('--timeout-ms <ms>', 'give Python up after this time', parseMs, 600_000)
    .option('-f, --force', 'overwrite an existing archive', false)
    .addHelpText('after', EXAMPLES)
    .action((archive: string, options: ConvertOptions) => convert(archive, options, terminal));
}

/** @throws MarlineError when the archive cannot be converted, or Ctrl-C came; then nothing is written */
async function convert(
  archive: string,
  options: ConvertOptions,
  { stdout, stderr }: Terminal,
): Promise<void> {
  const { input, sample, handler, modelName, ...rest } = options;
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once('SIGINT', interrupt);
  const order: ConvertOrder = {
    ...rest,
    archive,
    inputs: [...input, ...sample.map(sampleOf)],
    handler,
    modelName,
    signal: interruption.signal,
    announce: (text) => void stderr.write(`${text}\n`),
  };
  try {
    // Nest takes half a second to load: the other commands do without.
    const { convertArchive } = await import('../convert/convert-archive.js');
    const conversion = await convertArchive(order);
    stdout.write(`${conversionReport(conversion).join('\n')}\n`);
    stderr.write(`${conversion.path} was written.\n`);
  } catch (error) {
    if (interruption.signal.aborted)
      throw new MarlineError(
        'PREDICTION_EXCEPTION',
        { reason: 'Interrupted: nothing was written.' },
        { cause: error },
      );
    throw error;
  } finally {
    process.off('SIGINT', interrupt);
  }
}

function parsed(text: string): ModelInput {
  try {
    return parseModelInput(text);
  } catch (error) {
    throw isMarlineError(error) ? new InvalidArgumentError(error.message) : error;
  }
}

// The program runs in another folder.
function sampleOf(file: string): ModelInput {
  return { sample: resolve(file) };
}

function parsePart(value: string): number {
  const part = /^\d*\.?\d+(?:e-?\d{1,2})?$/i.test(value) ? Number(value) : Number.NaN;
  if (part > 0 && part <= 1) return part;
  throw new InvalidArgumentError('It is a number above 0 and up to 1, such as 0.0001.');
}

function parseMs(value: string): number {
  const ms = /^\d{1,8}$/.test(value) ? Number(value) : 0;
  if (ms >= 1) return ms;
  throw new InvalidArgumentError('It is a whole number of milliseconds from 1 up.');
}
