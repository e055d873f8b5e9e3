import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../src/program.js';
import { pythonVenv } from '../support/python-venv.js';
import { RecordedTerminal } from './terminal.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`The doctor sees no healthy Python: ${missing}.`);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-doctor-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function doctor(path: string): Promise<{ code: number; text: string }> {
  const terminal = new RecordedTerminal();
  const code = await run(['doctor', '--python', path], terminal);
  expect(terminal.stderr.text).toBe('');
  return { code, text: terminal.stdout.text };
}

/** A program that answers as a Python with these packages would. */
function pretended(name: string, told: object): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\necho '${JSON.stringify(told)}'\n`, { mode: 0o755 });
  return path;
}

const healthy = {
  pythonVersion: '3.11.7',
  torchServeDir: '/lib/ts',
  packages: { torch: '2.13.0', torchserve: '0.12.0', psutil: '7.2.2', pyyaml: '6.0.3', packaging: '26.3' },
};

describe('marline doctor', () => {
  it.skipIf(python === undefined)('finds nothing wrong with a Python that has all', async () => {
    const { code, text } = await doctor(python ?? '');
    expect(text).toMatch(/^python {6}3\.\d+\.\d+ \(/);
    expect(text).toContain('torchserve  0.12.0\n');
    expect(text).toContain('Archives with Python handlers can be served.\n');
    expect(code).toBe(0);
  });

  it('says that there is no Python', async () => {
    expect(await doctor(join(folder, 'none'))).toEqual({
      code: 1,
      text: expect.stringMatching(
        /There is no Python ".*none"\. Install Python 3\.11, or name one/,
      ) as string,
    });
  });

  it('says that a program is no Python', async () => {
    expect(await doctor('/bin/false')).toEqual({
      code: 1,
      text: expect.stringContaining('"/bin/false" is no Python that works') as string,
    });
  });

  it.each([
    [
      'packages are missing',
      { ...healthy, torchServeDir: null, packages: { ...healthy.packages, torch: null, torchserve: null } },
      / has no torch, torchserve\.\n {2}Install it: .* -m pip install torch torchserve==0\.12\.0\n/,
    ],
    [
      'torchserve has another version',
      { ...healthy, packages: { ...healthy.packages, torchserve: '0.8.2' } },
      / has torchserve 0\.8\.2, and workers of 0\.12\.0 .*\n {2}Install that one: .*pip install torchserve==0\.12\.0\n/,
    ],
    ['the package is broken', { ...healthy, torchServeDir: null }, /--force-reinstall torchserve==0\.12\.0/],
    ['the Python is old', { ...healthy, pythonVersion: '3.7.17' }, / is Python 3\.7\.17, which is too old/],
  ])('says that %s, and how to mend it', async (what, told, said) => {
    const { code, text } = await doctor(pretended(what.replaceAll(' ', '-'), told));
    expect(text).toMatch(said);
    expect(text).not.toContain('can be served');
    expect(code).toBe(1);
  });

  it('says that a package which is there cannot be imported', async () => {
    const path = join(folder, 'broken');
    const script = `#!/bin/sh\ncase "$2" in *importlib*) echo '${JSON.stringify(healthy)}';; *) echo 'ImportError: libtorch.so' >&2; exit 1;; esac\n`;
    writeFileSync(path, script, { mode: 0o755 });
    expect(await doctor(path)).toEqual({
      code: 1,
      text: expect.stringContaining('cannot import what workers need: ImportError: libtorch.so') as string,
    });
  });
});
