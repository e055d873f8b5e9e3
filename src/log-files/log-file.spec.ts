import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { built } from '../../test/support/built.js';
import { LogFile } from './log-file.js';

let folder: string;
let path: string;
let warnings: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-log-file-'));
  path = join(folder, 'logs', 'access_log.log');
  warnings = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = (mostBytes?: number) => new LogFile(path, (message) => warnings.push(message), mostBytes);
const text = (name = path) => readFileSync(name, 'utf8');

describe('a log file', () => {
  it('has every line in order when it is closed, and takes none after that', async () => {
    const file = open();
    const lines = Array.from({ length: 5_000 }, (_, number) => `line ${number} ${'ü'.repeat(20)}\n`);
    for (const line of lines) file.write(line);
    await file.close();
    file.write('late\n');
    await file.close();
    expect(text()).toBe(lines.join(''));
    expect(warnings).toEqual([]);
  });

  it('writes a single line without being told to', async () => {
    const file = open();
    file.write('one\n');
    await expect.poll(() => text()).toBe('one\n');
    await file.close();
  });

  it('adds to what is there, and is for its user and group alone', async () => {
    mkdirSync(join(folder, 'logs'));
    writeFileSync(path, 'before\n');
    const file = open();
    file.write('after\n');
    await file.close();
    expect(text()).toBe('before\nafter\n');
    rmSync(path);
    await open().close();
    expect(statSync(path).mode & 0o027).toBe(0);
  });

  it('is put aside when it is full, and five of those are kept', async () => {
    for (let round = 0; round < 8; round++) {
      const file = open(1_000);
      file.write(`${round}\n${'x'.repeat(1_000)}\n`);
      await file.close();
    }
    const last = open(1_000);
    last.write('last\n');
    await last.close();
    expect(readdirSync(join(folder, 'logs')).toSorted()).toEqual([
      'access_log.log',
      ...[1, 2, 3, 4, 5].map((number) => `access_log.log.${number}`),
    ]);
    expect(text()).toBe('last\n');
    expect([1, 5].map((number) => text(`${path}.${number}`)[0])).toEqual(['7', '3']);
    expect(warnings).toEqual([]);
  });

  it('loses no line while it is put aside', async () => {
    const file = open(50_000);
    const count = 20_000;
    const written = () =>
      readdirSync(join(folder, 'logs')).reduce(
        (sum, name) => sum + statSync(join(folder, 'logs', name)).size,
        0,
      );
    for (let number = 0; number < count; number++) {
      file.write(`${number}\n`.padStart(20));
      if (number % 5_000 === 4_999) await expect.poll(written).toBe((number + 1) * 20);
    }
    // Puts the file aside, and is closed at once.
    file.write(`${count}\n`);
    await file.close();
    const all = readdirSync(join(folder, 'logs')).toSorted().toReversed();
    expect(all.length).toBeGreaterThan(2);
    const numbers = all.flatMap((name) =>
      text(join(folder, 'logs', name))
        .trim()
        .split('\n')
        .map(Number),
    );
    expect(numbers.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: count + 1 }, (_, number) => number),
    );
  });

  it('stays where it is when somebody else has emptied it, and comes back when it was taken away', async () => {
    const file = open(1_000);
    file.write(`${'x'.repeat(70_000)}\n`);
    await expect.poll(() => statSync(path).size).toBe(70_001);
    truncateSync(path);
    file.write(`${'y'.repeat(70_000)}\n`);
    await expect.poll(() => statSync(path).size).toBe(70_001);
    expect(readdirSync(join(folder, 'logs'))).toEqual(['access_log.log']);
    rmSync(path);
    file.write(`${'z'.repeat(70_000)}\n`);
    await file.close();
    expect(text()[0]).toBe('z');
  });

  it('tells once that lines are lost when the disk is full, and closes', async () => {
    mkdirSync(join(folder, 'logs'));
    symlinkSync('/dev/full', path);
    const file = open();
    for (let round = 0; round < 3; round++) file.write(`${'x'.repeat(70_000)}\n`);
    await expect.poll(() => warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /Lines of .*access_log\.log cannot be written: ENOSPC.* Requests are served all the same\./,
    );
    await file.close();
    expect(warnings).toHaveLength(1);
  });

  it('keeps no more than 8 MB in memory, and tells once that further lines are lost', async () => {
    const file = open();
    const line = `${'x'.repeat(70_000)}\n`;
    // All in one turn of the event loop: nothing of it can have reached the disk.
    for (let count = 0; count < 300; count++) file.write(line);
    expect(warnings).toEqual([expect.stringMatching(/^Lines of .* are lost: too many wait for the disk\./)]);
    await expect.poll(() => statSync(path).size).toBeGreaterThan(7_000_000);
    file.write('after\n');
    await file.close();
    expect(text().length).toBeLessThan(9_000_000);
    expect(text()).toMatch(/^after$/m);
    expect(warnings).toHaveLength(1);
  });

  /** Runs a script that has `open`, for a log that is a link to `device`, and returns what the pipe prints and what it told. */
  function runIn(device: string, pipe: string, body: string): { output: string; told: string } {
    mkdirSync(join(folder, 'logs'));
    symlinkSync(device, path);
    const module = built('src/log-files/log-file.js').href;
    const script = `
      const { LogFile } = await import(${JSON.stringify(module)});
      const open = () => new LogFile(${JSON.stringify(path)}, console.error, 10);
      ${body}`;
    const flags = ['--input-type=module', '-e', script];
    // A pipe of the shell: what a child of Node gets is a socket, which cannot be opened by its name.
    // One description for both would make the other end of the pipe non-blocking.
    const told = join(folder, 'told');
    const shell = ['-c', `"$0" "$@" 2>'${told}' | ${pipe}`, process.execPath, ...flags];
    const output = execFileSync('sh', shell, { encoding: 'utf8', timeout: 20_000 });
    return { output, told: text(told) };
  }

  it('may be a link to the standard output', () => {
    const { output } = runIn(
      '/dev/stdout',
      'cat',
      `const file = open();
      for (const line of ['one', 'two', 'three']) file.write(line.padEnd(70000, '.') + '\\n');
      await file.close();
      open().write('four\\n');
      process.exit(0);`,
    );
    // The end of the process took the last line out of memory.
    expect(output.match(/^\w+/gm)).toEqual(['one', 'two', 'three', 'four']);
  });

  it('ends when nobody reads the standard output any more', () => {
    const { told } = runIn(
      '/dev/stdout',
      'head -c 1',
      `const told = new Promise((resolve) => (console.error = resolve));
      const file = open();
      const writing = setInterval(() => file.write('.'.repeat(70000)), 10);
      process.stderr.write(await told);
      clearInterval(writing);
      await file.close();
      process.stderr.write(' closed');`,
    );
    expect(told).toMatch(/EPIPE.* closed$/);
  });

  it('does not keep a process whose disk is full from ending', () => {
    const { told } = runIn(
      '/dev/full',
      'cat',
      `const file = open();
      file.write('x'.repeat(70000));
      setTimeout(() => {
        file.write('last');
        process.exit(0);
      }, 50);`,
    );
    expect(told).toMatch(/^Lines of .* cannot be written: ENOSPC/);
  });

  it('is refused where it cannot be made', () => {
    writeFileSync(join(folder, 'logs'), '');
    expect(open).toThrow();
  });
});
