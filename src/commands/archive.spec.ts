import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runArchive } from './archive.js';

let cwd: string;

beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'marline-archive-'));
  await writeFile(join(cwd, 'handler.mjs'), 'export default class {}');
});

afterEach(() => rm(cwd, { recursive: true }));

async function run(...argv: string[]) {
  let out = '';
  let err = '';
  const io = { cwd, out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  return { code: await runArchive(argv, io), out, err };
}

const lastLine = (text: string) => text.trimEnd().split('\n').at(-1);

describe('marline archive', () => {
  it('packs a JavaScript handler for node without being told to', async () => {
    const flags = [
      '--model-name',
      'm',
      '--handler',
      'handler.mjs',
      '-v',
      '1.0',
      '--archive-format',
      'no-archive',
    ];
    expect(await run(...flags)).toEqual({ code: 0, out: '', err: '' });
    expect((await readdir(join(cwd, 'm'))).toSorted()).toEqual(['MAR-INF', 'handler.mjs']);
    const manifest = JSON.parse(await readFile(join(cwd, 'm/MAR-INF/MANIFEST.json'), 'utf8')) as object;
    expect(manifest).toMatchObject({
      runtime: 'node',
      model: { modelName: 'm', handler: 'handler.mjs', modelVersion: '1.0' },
    });
  });

  it.each([
    [['--model-name'], 'argument --model-name: expected one argument'],
    [['-v'], 'argument -v/--version: expected one argument'],
    [['-c'], 'argument -c/--config-file: expected one argument'],
    [[], 'the following arguments are required: --model-name, --handler, -v/--version'],
    [['--model-name', 'm', '--handler', 'h', '-v', '1', 'more', '--x'], 'unrecognized arguments: more --x'],
  ])('answers wrong usage %j with exit code 2', async (argv, message) => {
    const { code, out, err } = await run(...argv);
    expect({ code, out, last: lastLine(err) }).toEqual({
      code: 2,
      out: '',
      last: `marline archive: error: ${message}`,
    });
  });

  it('says how to name a handler class of the application', async () => {
    const { code, err } = await run('--model-name', 'm', '--handler', 'fraud_handler', '-v', '1.0');
    expect(code).toBe(1);
    expect(err).toMatch(/^If "fraud_handler" is a handler class of your application, add --runtime node\.\n/);
  });

  it('writes no stack when packing fails', async () => {
    const { code, err } = await run('--model-name', 'm', '--handler', 'none.mjs', '-v', '1.0');
    expect({ code, err }).toEqual({
      code: 1,
      err: "FileNotFoundError: [Errno 2] No such file or directory: 'none.mjs'\n",
    });
  });
});
