import { mkdir, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { MarlineError } from '#libs/common';
import { handlerSkeleton } from '../handler-skeleton.js';
import { pythonHandlerSkeleton } from '../python-handler-skeleton.js';
import type { Terminal } from './predict.js';

const EXAMPLES = `
Examples:
  $ marline handler new fraud
  $ cd fraud && ONNXRUNTIME_NODE_INSTALL=skip npm install marline && node --test
  $ marline handler new churn --runtime python
  $ cd churn && python -m unittest`;

interface HandlerOptions {
  readonly runtime: keyof typeof SKELETONS;
  readonly dir?: string;
}

const SKELETONS = { node: handlerSkeleton, python: pythonHandlerSkeleton };

/** `marline handler`: starts custom handlers. */
export function handlerCommand(terminal: Terminal = process): Command {
  const create = new Command('new')
    .description('write the skeleton of a handler for an archive, with a spec that passes')
    .argument('<name>', 'name of the model that the handler is for')
    .addOption(
      new Option('--runtime <runtime>', "JavaScript, or Python in the way of TorchServe's BaseHandler")
        .choices(Object.keys(SKELETONS))
        .default('node'),
    )
    .option('--dir <folder>', 'where to write it (default: a new folder called as the handler)')
    .addHelpText('after', EXAMPLES)
    .action((name: string, options: HandlerOptions) => createHandler(name, options, terminal));
  return new Command('handler').description('start a custom handler').addCommand(create);
}

/** @throws MarlineError `INVALID_INPUT` for a name that no archive may have, and rather than overwrite a file */
async function createHandler(
  name: string,
  { runtime, dir: folder = name }: HandlerOptions,
  terminal: Terminal,
): Promise<void> {
  if (!/^[A-Za-z0-9][A-Za-z0-9_\-.]*$/.test(name)) {
    const reason = `"${name}" is not a name for a handler: begin with a letter or digit, go on with letters, digits, "_", "-" and ".".`;
    throw new MarlineError('INVALID_INPUT', { reason });
  }
  const files = SKELETONS[runtime](name).map(({ path, text }) => ({ path: join(folder, path), text }));
  const existing = files.find(({ path }) => existsSync(path));
  if (existing !== undefined) {
    throw new MarlineError('INVALID_INPUT', {
      reason: `${existing.path} exists already; nothing was written. Choose another --dir.`,
    });
  }
  await mkdir(folder, { recursive: true });
  for (const { path, text } of files) await writeFile(path, text, { flag: 'wx' });
  terminal.stdout.write(`${files.map(({ path }) => path).join('\n')}\n`);
  terminal.stderr.write(`${join(folder, 'README.md')} tells how to test and pack it.\n`);
}
