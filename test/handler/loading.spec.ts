import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncodedError } from '#libs/common';
import { bundled } from '../support/built.js';

interface Loaded {
  readonly name?: string;
  readonly isOurs?: boolean;
  readonly answers?: Record<string, unknown>;
  readonly errors?: Record<string, unknown>;
  readonly error?: EncodedError;
}

// Outside the project, as an unpacked archive is: nothing there leads to the package.
let folder: string;
let worker: Worker;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-loading-'));
  cpSync(fileURLToPath(new URL('../fixtures/handlers/loading', import.meta.url)), folder, {
    recursive: true,
  });
  // Not among the fixtures, because no tool that reads them could.
  writeFileSync(join(folder, 'syntax-error.mjs'), 'export default class {');
  worker = new Worker(bundled(new URL('./load.worker.ts', import.meta.url)));
});
afterAll(async () => {
  worker.postMessage('end');
  await once(worker, 'exit');
  rmSync(folder, { recursive: true });
});

async function load(file: string, exportName?: string): Promise<Loaded> {
  worker.postMessage({ url: pathToFileURL(join(folder, file)).href, exportName });
  const [loaded] = (await once(worker, 'message')) as [Loaded];
  return loaded;
}

describe('a handler of an archive, in a worker thread', () => {
  it('extends the very BaseHandler that the worker runs', async () => {
    expect(await load('default-class.mjs')).toEqual({
      name: 'Halving',
      isOurs: true,
      answers: { a: { y: 10 } },
      errors: { b: [422, 'Send a number.'] },
    });
  });

  it.each([
    ['the only class of a .js file', 'only-class.js', undefined, 'Only'],
    ['the class that is asked for', 'two-classes.mjs', 'Second', 'Second'],
    ['a default class by its own name', 'default-class.mjs', 'Halving', 'Halving'],
  ])('is %s', async (_what, file, exportName, name) => {
    expect(await load(file, exportName)).toMatchObject({ name, isOurs: true });
  });

  it('is a module of functions', async () => {
    expect((await load('functions.mjs')).answers).toEqual({
      a: { modelName: 'demo', body: 10 },
      b: { modelName: 'demo', body: 'text' },
    });
  });

  it('is a CommonJS module of functions', async () => {
    expect((await load('common.js')).answers).toEqual({ a: 'common', b: 'common' });
  });

  it.each([
    [
      'two handlers',
      'two-classes.mjs',
      undefined,
      'two-classes.mjs exports several handlers (First, Second); export one of them as default.',
    ],
    ['no handler', 'no-handler.mjs', undefined, 'it exports Stranger (function), value (number).'],
    [
      'another handler than asked for',
      'only-class.js',
      'Gone',
      'only-class.js exports no handler named Gone',
    ],
    [
      'a syntax error',
      'syntax-error.mjs',
      undefined,
      'syntax-error.mjs cannot be imported: SyntaxError: Unexpected end of input.',
    ],
    ['an error of its own', 'throws.mjs', undefined, 'throws.mjs cannot be imported: Error.'],
    [
      'a package that is not there',
      'missing-package.mjs',
      undefined,
      'It imports "no-such-package-at-all", which the archive does not carry.',
    ],
    ['require of the ES module', 'common-class.js', undefined, 'write it as an ES module (.mjs)'],
    [
      'constructor arguments',
      'needs-arguments.mjs',
      undefined,
      'The constructor of Needy in needs-arguments.mjs threw TypeError',
    ],
    ['no file', 'nowhere.mjs', undefined, 'nowhere.mjs cannot be imported'],
  ])('is refused with %s', async (_what, file, exportName, message) => {
    const { error } = await load(file, exportName);
    expect(error).toMatchObject({
      code: 'HANDLER_INVALID',
      message: expect.stringContaining(message) as string,
    });
    expect(error?.message).not.toContain(folder);
  });
});
