import { Command, CommanderError } from 'commander';
import { VERSION, isMarlineError } from '#libs/common';
import { benchCommand } from './commands/bench.js';
import { convertCommand } from './commands/convert.js';
import { doctorCommand } from './commands/doctor.js';
import { handlerCommand } from './commands/handler.js';
import { predictCommand, type Terminal } from './commands/predict.js';
import { serveCommand } from './commands/serve.js';
import { tuneCommand } from './commands/tune.js';

const EXAMPLES = `
Examples:
  $ marline archive --model-name digits --version 1.0 --serialized-file digits.onnx --handler handler.mjs --export-path models
  $ marline serve --model-store models --models all
  $ marline predict seven.png --model digits

Exit codes: 0 done, 1 failed, 2 the command line is wrong.`;

function createProgram(terminal: Terminal, finish: (code: number) => void): Command {
  const program = new Command('marline')
    .description('serves TorchServe model archives: ONNX models inline, from one Node.js process')
    // Otherwise the program would take the --version of `archive` and `predict` for its own.
    .enablePositionalOptions()
    .version(`marline ${VERSION}`, '-v, --version')
    .addHelpText('after', EXAMPLES);
  const commands = [predictCommand, benchCommand, tuneCommand, convertCommand, handlerCommand];
  const made = [
    serveCommand(terminal, finish),
    ...commands.map((make) => make(terminal)),
    doctorCommand(terminal, finish),
  ];
  for (const command of made) {
    program.addCommand(command.showHelpAfterError(`(marline ${command.name()} --help shows all options)`));
  }
  return withOutput(program, terminal).addCommand(archiveCommand(terminal, finish));
}

// Its own parser speaks as torch-model-archiver does, and is loaded only when it is wanted: it brings Nest along.
function archiveCommand({ stdout, stderr }: Terminal, finish: (code: number) => void): Command {
  return new Command('archive')
    .description('pack a model, its handler and their files as a model archive (.mar)')
    .argument('[options...]')
    .helpOption(false)
    .allowUnknownOption()
    .action(async (args: string[]) => {
      const { runArchive } = await import('./commands/archive.js');
      const io = {
        cwd: process.cwd(),
        out: (text: string) => void stdout.write(text),
        err: (text: string) => void stderr.write(text),
      };
      finish(await runArchive(args, io));
    });
}

/**
 * Runs one command line.
 * @param argv what follows the command's own name
 * @returns the exit code: 0, 1 for a failure (told on stderr), 2 for a wrong command line
 */
export async function run(argv: readonly string[], terminal: Terminal = process): Promise<number> {
  let code = 0;
  try {
    await createProgram(terminal, (result) => (code = result)).parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    terminal.stderr.write(`error: ${explain(error)}\n`);
    return 1;
  }
}

function withOutput(command: Command, terminal: Terminal): Command {
  command.exitOverride().configureOutput({
    writeOut: (text) => terminal.stdout.write(text),
    writeErr: (text) => terminal.stderr.write(text),
  });
  for (const child of command.commands) withOutput(child, terminal);
  return command;
}

function explain(error: unknown): string {
  if (isMarlineError(error)) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
