import { Command } from 'commander';
import { messageOf } from '#libs/common';
import {
  REQUIRED_PACKAGES,
  askInterpreter,
  importProblem,
  interpreterCommand,
  shortcomings,
  type Interpreter,
} from '#libs/python';
import type { Terminal } from './predict.js';

interface DoctorOptions {
  readonly python?: string;
}

const EXAMPLES = `
Examples:
  $ marline doctor
  $ marline doctor --python /opt/venv/bin/python

ONNX models and JavaScript handlers need no Python. Exit codes: 0 archives with Python handlers can be served, 1 they
cannot, and what to do about it was said.`;

/** `marline doctor`: what this machine lacks to serve archives with Python handlers, and how to get it. */
export function doctorCommand(terminal: Terminal, finish: (code: number) => void): Command {
  return new Command('doctor')
    .description('say what is missing to serve archives with Python handlers, and how to get it')
    .option('-e, --python <path>', 'the Python to look at; MARLINE_PYTHON, else python3, without it')
    .addHelpText('after', EXAMPLES)
    .action(async ({ python = process.env['MARLINE_PYTHON'] ?? '' }: DoctorOptions) => {
      const problems = await examine(python, (line) => void terminal.stdout.write(`${line}\n`));
      for (const problem of problems) terminal.stdout.write(`\n${problem}\n`);
      if (problems.length === 0) terminal.stdout.write('\nArchives with Python handlers can be served.\n');
      finish(problems.length === 0 ? 0 : 1);
    });
}

/** What is wrong, each with its remedy; what was found is told on the way. */
async function examine(configured: string, tell: (line: string) => void): Promise<string[]> {
  let interpreter: Interpreter;
  try {
    interpreter = await askInterpreter(interpreterCommand(configured));
  } catch (error) {
    return [messageOf(error)];
  }
  const { command, pythonVersion, packages } = interpreter;
  tell(row('python', `${pythonVersion} (${command})`));
  for (const name of REQUIRED_PACKAGES) tell(row(name, packages[name] ?? 'missing'));
  const found = shortcomings(interpreter);
  if (found.length > 0) return found.map(({ what, fix }) => `${what}\n  ${fix}`);
  const problem = await importProblem(command);
  return problem === undefined ? [] : [`${command} cannot import what workers need: ${problem}`];
}

function row(name: string, value: string): string {
  return `${name.padEnd(12)}${value}`;
}
