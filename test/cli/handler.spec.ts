import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../src/program.js';
import { built } from '../support/built.js';
import { RecordedTerminal } from './terminal.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-handler-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function create(name: string, dir = join(folder, 'new'), ...options: string[]) {
  const terminal = new RecordedTerminal();
  const code = await run(['handler', 'new', name, '--dir', dir, ...options], terminal);
  return { code, dir, stdout: terminal.stdout.text, stderr: terminal.stderr.text };
}

// The generated handler imports the package by its name: a stand-in in node_modules leads to the build.
function linkPackage(dir: string): void {
  const target = join(dir, 'node_modules/marline');
  mkdirSync(target, { recursive: true });
  writeFileSync(
    join(target, 'package.json'),
    JSON.stringify({ type: 'module', exports: { './handler': './handler.js' } }),
  );
  const source = built('libs/handler/src/worker.js').href;
  writeFileSync(join(target, 'handler.js'), `export * from ${JSON.stringify(source)};`);
}

describe('marline handler new', () => {
  it('writes a handler whose spec passes', async () => {
    const { code, dir, stdout } = await create('2nd.fraud-model');
    expect(code).toBe(0);
    expect(readdirSync(dir).toSorted()).toEqual(['README.md', 'handler.mjs', 'handler.test.mjs']);
    expect(stdout).toContain('handler.mjs');
    linkPackage(dir);
    const { stdout: report } = await promisify(execFile)(
      process.execPath,
      ['--test', '--test-reporter=tap', 'handler.test.mjs'],
      { cwd: dir, env: { ...process.env, NODE_OPTIONS: '' } },
    );
    expect(report).toContain('# pass 3');
    expect(report).toContain('# fail 0');
  });

  it('explains how to pack it under its name', async () => {
    const { dir } = await create('fraud');
    expect(readFileSync(join(dir, 'README.md'), 'utf8')).toContain('marline archive --model-name fraud');
  });

  it.each([
    ['node', 'handler.test.mjs', 'handler.mjs'],
    ['python', 'test_handler.py', 'handler.py'],
  ])('overwrites nothing (%s)', async (runtime, own, other) => {
    const dir = join(folder, 'mine');
    mkdirSync(dir);
    writeFileSync(join(dir, own), 'mine');
    const { code, stderr } = await create('fraud', dir, '--runtime', runtime);
    expect(code).toBe(1);
    expect(stderr).toContain(`${own} exists already; nothing was written`);
    expect(existsSync(join(dir, other))).toBe(false);
    expect(readFileSync(join(dir, own), 'utf8')).toBe('mine');
  });

  it.each(
    ['../evil', 'a b', '-x/', '', 'a"; import os'].flatMap((name) => [
      [name, 'node'],
      [name, 'python'],
    ]),
  )('refuses the name %j (%s)', async (name, runtime) => {
    const terminal = new RecordedTerminal();
    const options = ['--dir', join(folder, 'x'), '--runtime', runtime];
    expect(await run(['handler', 'new', ...options, '--', name], terminal)).toBe(1);
    expect(terminal.stderr.text).toContain('is not a name for a handler');
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });

  it('refuses a runtime that it does not know', async () => {
    const { code, stderr } = await create('fraud', folder, '--runtime', 'java');
    expect(code).toBe(2);
    expect(stderr).toContain('Allowed choices are node, python.');
  });
});
