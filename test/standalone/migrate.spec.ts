import { execFile, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stopServer } from '../../src/stop-server.js';
import { freePort } from '../support/free-port.js';
import { fixture } from '../support/open-registry.js';
import { clientVenv, pythonVenv } from '../support/python-venv.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`docs/migrate.md is not followed: ${missing}.`);

const root = fileURLToPath(new URL('../../', import.meta.url));
const cli = join(root, 'dist/src/cli.js');
const LIMIT_MS = 300_000;
const NEXT = '--- next block ---';

interface Block {
  readonly language: string;
  readonly text: string;
}

/** A block of commands, and what the document says that it prints; `…` stands for anything. */
interface Step {
  readonly commands: string;
  readonly prints: string;
}

let folder: string;
let steps: readonly Step[];
let outputs: readonly string[];

beforeAll(async () => {
  if (python === undefined) return;
  if (!existsSync(cli)) throw new Error('docs/migrate.md is followed with what was built: npm run build');
  folder = mkdtempSync(join(tmpdir(), 'marline-migrate-'));
  const blocks = blocksOf(await onFreePorts(readFileSync(join(root, 'docs/migrate.md'), 'utf8')));
  steps = stepsOf(blocks);
  writeFileSync(
    join(folder, 'config.properties'),
    blocks.find(({ language }) => language === 'properties')!.text,
  );
  copyFileSync(fixture('images/digit_7.png'), join(folder, 'digit_7.png'));
  await packWithTorchServe(python);
  await makeStubs();
  outputs = await follow(python);
}, LIMIT_MS);

afterAll(async () => {
  if (python === undefined) return;
  await stopServer(join(folder, 'tmp/.model_server.pid'));
  rmSync(folder, { recursive: true });
});

/** The document with ports that are free here. */
async function onFreePorts(text: string): Promise<string> {
  const ports = new Map<string, number>();
  for (const [port] of text.matchAll(/\b(?:808[0-2]|707[01])\b/g))
    if (!ports.has(port)) ports.set(port, await freePort());
  return text.replaceAll(/\b(?:808[0-2]|707[01])\b/g, (port) => String(ports.get(port)));
}

function blocksOf(markdown: string): readonly Block[] {
  return [...markdown.matchAll(/^```(\w*)\n([^]*?)^```$/gm)].map(([, language = '', text = '']) => ({
    language,
    text,
  }));
}

function stepsOf(blocks: readonly Block[]): readonly Step[] {
  return blocks.flatMap(({ language, text }, at) => {
    const next = blocks[at + 1];
    return language === 'sh' ? [{ commands: text, prints: next?.language === '' ? next.text : '' }] : [];
  });
}

/** The archive as its owner has it: by the real archiver. */
async function packWithTorchServe(interpreter: string): Promise<void> {
  await promisify(execFile)(interpreter, ['-B', fixture('torch/make_mnist.py'), folder]);
  mkdirSync(join(folder, 'model_store'));
  const model = [
    '--model-file',
    fixture('torch/mnist_net.py'),
    '--serialized-file',
    join(folder, 'mnist_state.pt'),
  ];
  const names = [
    '--model-name',
    'digits',
    '--version',
    '1.0',
    '--handler',
    fixture('torch/mnist_handler.py'),
  ];
  const archiver = join(dirname(interpreter), 'torch-model-archiver');
  await promisify(execFile)(archiver, [...names, ...model, '--export-path', join(folder, 'model_store')]);
}

/** The stubs of its clients, with the packages that they need. */
async function makeStubs(): Promise<void> {
  const { python: interpreter = '' } = await clientVenv();
  const stubs = join(folder, 'stubs');
  mkdirSync(join(stubs, 'google'), { recursive: true });
  const protos = join(root, 'libs/grpc/proto');
  const into = [`--proto_path=${protos}`, `--python_out=${stubs}`, `--grpc_python_out=${stubs}`];
  const files = ['inference.proto', 'google/rpc/status.proto'];
  await promisify(execFile)(interpreter, ['-m', 'grpc_tools.protoc', ...into, ...files]);
  const where = 'import grpc, os; print(os.path.dirname(os.path.dirname(grpc.__file__)))';
  const { stdout } = await promisify(execFile)(interpreter, ['-c', where]);
  for (const each of ['grpc', 'google/protobuf', 'google/_upb'])
    symlinkSync(join(stdout.trim(), each), join(stubs, each));
}

/** Runs all blocks in one shell, as somebody does who follows the document. @returns what each printed */
async function follow(interpreter: string): Promise<readonly string[]> {
  for (const name of ['bin', 'tmp']) mkdirSync(join(folder, name));
  // What npx would find after the installation, which test/packaging does for real.
  writeFileSync(join(folder, 'bin/npx'), `#!/bin/sh\nshift\nexec "${process.execPath}" "${cli}" "$@"\n`, {
    mode: 0o755,
  });
  writeFileSync(join(folder, 'bin/npm'), '#!/bin/sh\n[ "$1" = install ]\n', { mode: 0o755 });
  const script = steps.map(({ commands }) => commands).join(`\necho '${NEXT}'\n`);
  const shell = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: folder,
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      NO_COLOR: '1',
      TMPDIR: join(folder, 'tmp'),
      PATH: [join(folder, 'bin'), dirname(interpreter), dirname(process.execPath), process.env['PATH']].join(
        ':',
      ),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  shell.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  shell.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const [code] = (await once(shell, 'close')) as [number];
  if (code !== 0) throw new Error(`The document cannot be followed (${code}):\n${output}\n${errors}`);
  return output.split(`${NEXT}\n`);
}

/** What the document says, with anything at all where it says `…`. */
function pattern(prints: string): RegExp {
  const escaped = prints.trim().replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return new RegExp(`^\\s*${escaped.replaceAll('…', '[^]*?')}\\s*$`);
}

describe.skipIf(python === undefined)('docs/migrate.md', () => {
  it('is followed to its end, and its blocks print what it says', () => {
    expect(steps.length).toBe(7);
    expect(outputs).toHaveLength(steps.length);
    for (const [at, { prints }] of steps.entries()) {
      expect(prints).not.toBe('');
      expect(outputs[at]).toMatch(pattern(prints));
    }
  });

  it('leaves no server behind', () => {
    expect(existsSync(join(folder, 'tmp/.model_server.pid'))).toBe(false);
    expect(existsSync(join(folder, 'key_file.json'))).toBe(false);
  });
});
