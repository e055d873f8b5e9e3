import { Command, CommanderError, Option } from 'commander';
import { ARCHIVE_FORMATS, RUNTIMES, packArchive, type ArchiveFormat, type Runtime } from '#libs/archive';
import { isMarlineError, messageOf } from '#libs/common';

/** Where the command runs and what it writes to. */
export interface ArchiveIo {
  readonly cwd: string;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

interface Flags {
  readonly modelName?: string;
  readonly serializedFile?: string;
  readonly modelFile?: string;
  readonly handler?: string;
  readonly extraFiles?: string;
  readonly runtime?: string;
  readonly exportPath?: string;
  readonly archiveFormat: string;
  readonly force?: boolean;
  readonly version?: string;
  readonly requirementsFile?: string;
  readonly configFile?: string;
}

const PROGRAM = 'marline archive';
const FAILED = 1;
const USAGE = 2;

const EXAMPLE = `
Example:
  $ marline archive --model-name mnist --version 1.0 --handler mnist_handler.mjs \\
      --serialized-file mnist.onnx --extra-files index_to_name.json --export-path model_store

All options and messages are torch-model-archiver's; a JavaScript handler (.js, .mjs) makes an archive of runtime node.
For a handler class of your application give its name and --runtime node.`;

/**
 * Runs `marline archive`: packs a model archive.
 * @param argv the arguments behind `marline archive`
 * @returns the exit code: 2 for wrong usage, 1 when packing fails
 */
export async function runArchive(argv: readonly string[], io: ArchiveIo): Promise<number> {
  let code = 0;
  const command = buildCommand(io, (result) => {
    code = result;
  }).exitOverride();
  try {
    await command.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return exitCodeOf(error, io);
    throw error;
  }
}

function buildCommand(io: ArchiveIo, finish: (code: number) => void): Command {
  return (
    new Command(PROGRAM)
      .description('pack a model, its handler and their files as a model archive (.mar)')
      .option('--model-name <name>', 'name of the model, and of the archive: <name>.mar')
      .option('--serialized-file <file>', 'the weights: a .onnx file')
      .option('--model-file <file>', "a Python model's architecture; only TorchServe uses it")
      .option(
        '--handler <handler>',
        'a handler file (.js, .mjs, .py), or the name of one that the server has',
      )
      .option('--extra-files <files>', 'comma-separated files, patterns and folders to pack too')
      .addOption(new Option('--runtime <runtime>', `what runs the handler: ${RUNTIMES.join(', ')}`))
      .option('--export-path <folder>', 'an existing folder to write to (default: the current one)')
      .addOption(new Option('--archive-format <format>', formatHelp()).default('default'))
      .option('-f, --force', 'overwrite an existing archive')
      .option('-v, --version <version>', "the model's version")
      .option(
        '-r, --requirements-file <file>',
        "a Python handler's requirements.txt; only TorchServe uses it",
      )
      .option('-c, --config-file <file>', 'a model-config.yaml: batch size, workers, time-outs')
      .addHelpText('after', EXAMPLE)
      // Commander stops at the first unknown option, argparse names what is missing first and then all that is unknown.
      .allowUnknownOption()
      .allowExcessArguments()
      .configureOutput({ writeOut: io.out, writeErr: io.err, outputError: () => undefined })
      .action(async (flags: Flags, command: Command) => finish(await archive(flags, command, io)))
  );
}

async function archive(flags: Flags, command: Command, io: ArchiveIo): Promise<number> {
  const problem = usageProblem(flags, command.args);
  if (problem !== undefined) return reportUsage(problem, io);
  const { modelName = '', handler = '', version = '', extraFiles, runtime, archiveFormat, ...files } = flags;
  try {
    await packArchive({
      ...files,
      modelName,
      handler,
      version,
      extraFiles: extraFiles?.split(','),
      runtime: runtime as Runtime | undefined,
      archiveFormat: archiveFormat as ArchiveFormat,
      cwd: io.cwd,
      warn: (text) => io.err(`WARNING - ${text}\n`),
    });
    return 0;
  } catch (error) {
    if (isMarlineError(error) && error.code === 'PACK_FILE_NOT_FOUND' && !/[./]/.test(handler)) {
      io.err(`If "${handler}" is a handler class of your application, add --runtime node.\n`);
    }
    io.err(`${isMarlineError(error) ? error.type : 'Error'}: ${messageOf(error)}\n`);
    return FAILED;
  }
}

/** What argparse would say about the arguments; `undefined` when it would take them. */
function usageProblem(flags: Flags, rest: readonly string[]): string | undefined {
  const choices = [
    { option: '--runtime', value: flags.runtime, allowed: RUNTIMES },
    { option: '--archive-format', value: flags.archiveFormat, allowed: ARCHIVE_FORMATS },
  ];
  for (const { option, value, allowed } of choices) {
    if (value === undefined || (allowed as readonly string[]).includes(value)) continue;
    const list = allowed.map((each) => `'${each}'`).join(', ');
    return `argument ${option}: invalid choice: '${value}' (choose from ${list})`;
  }
  const missing = [
    { option: '--model-name', value: flags.modelName },
    { option: '--handler', value: flags.handler },
    { option: '-v/--version', value: flags.version },
  ].filter(({ value }) => value === undefined);
  if (missing.length > 0) {
    return `the following arguments are required: ${missing.map(({ option }) => option).join(', ')}`;
  }
  return rest.length > 0 ? `unrecognized arguments: ${rest.join(' ')}` : undefined;
}

function exitCodeOf(error: CommanderError, io: ArchiveIo): number {
  if (error.exitCode === 0) return 0;
  const flags = /'(?:(-\w), )?(--[\w-]+)/.exec(error.message);
  if (error.code !== 'commander.optionMissingArgument' || flags === null)
    return reportUsage(error.message, io);
  const [, short, long = ''] = flags;
  return reportUsage(
    `argument ${short === undefined ? long : `${short}/${long}`}: expected one argument`,
    io,
  );
}

function reportUsage(problem: string, io: ArchiveIo): number {
  io.err(
    `usage: ${PROGRAM} --model-name <name> --handler <handler> -v <version> [options]; see ${PROGRAM} --help\n`,
  );
  io.err(`${PROGRAM}: error: ${problem}\n`);
  return USAGE;
}

function formatHelp(): string {
  return 'default (.mar), zip-store (.mar, not deflated), tgz (.tar.gz) or no-archive (a folder)';
}
