import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MarlineError } from '#libs/common';
import { ServedModel } from '#libs/inference';
import { openRegistry, type OpenRegistry } from '../support/open-registry.js';
import { pythonVenv } from '../support/python-venv.js';
import { handlersDir } from './python-workers.js';

const { python = '', missing } = await pythonVenv();
if (missing !== undefined) console.warn(`Nothing is installed for Python archives: ${missing}.`);

const WHEEL = 'tiny_dep-1.0-py3-none-any.whl';
/** A package of one module, without a build and without a network. */
const MAKE_WHEEL = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("tiny_dep.py", "VERSION = '1.0'\\n")
    wheel.writestr("tiny_dep-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny-dep\\nVersion: 1.0\\n")
    wheel.writestr("tiny_dep-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("tiny_dep-1.0.dist-info/RECORD", "")
`;

let open: OpenRegistry;
let careful: OpenRegistry;
beforeAll(async () => {
  open = await openRegistry({ python, installPyDepPerModel: true });
  careful = await openRegistry({ python });
});
afterAll(() => Promise.all([open.close(), careful.close()]));

interface Told {
  readonly version: string;
  readonly file: string;
  readonly prefix: string;
}

async function serve(registry: OpenRegistry, modelName: string, config: string, requirements = `./${WHEEL}`) {
  const { store } = registry;
  const requirementsFile = join(store, 'requirements.txt');
  const configFile = join(store, `${modelName}.yaml`);
  writeFileSync(requirementsFile, `--no-index\n${requirements}\n`);
  writeFileSync(configFile, `minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 0\n${config}`);
  execFileSync(python, ['-c', MAKE_WHEEL, join(store, WHEEL)]);
  await registry.pack({
    modelName,
    handler: join(handlersDir, 'needy_handler.py'),
    configFile,
    requirementsFile,
    extraFiles: [join(store, WHEEL)],
  });
  const runtime = await registry.registry.register({ url: `${modelName}.mar`, synchronous: true });
  return { runtime, model: new ServedModel<Uint8Array, Told>(modelName, registry.registry) };
}

const ping = new Uint8Array(1);
const reasonOf = (error: unknown) => ((error as MarlineError).cause as MarlineError).message;

describe.skipIf(python === '')('the requirements of a Python archive', () => {
  it('are not installed unless that is allowed', async () => {
    await expect(serve(careful, 'refused', '')).rejects.toMatchObject({ code: 'WORKERS_NOT_STARTED' });
    expect(existsSync(join(careful.cacheDir, 'python'))).toBe(false);
  });

  it('are installed beside its folder, once, and removed with it', async () => {
    const { runtime, model } = await serve(open, 'needs', '');
    const { version, file } = await model.predict(ping);
    expect(version).toBe('1.0');
    expect(file).toContain(join(open.cacheDir, 'python'));
    expect(readdirSync(runtime.archive.dir)).not.toContain('tiny_dep.py');
    await runtime.scale(2, 2);
    const entries = join(open.cacheDir, 'python', 'entries');
    expect(readdirSync(entries)).toHaveLength(1);
    await open.registry.unregister('needs');
    expect(readdirSync(entries)).toHaveLength(0);
  });

  it('are installed into a virtual environment with useVenv, which sees the packages of the Python too', async () => {
    const { model } = await serve(open, 'venv', 'useVenv: true');
    const { version, prefix, file } = await model.predict(ping);
    expect(version).toBe('1.0');
    expect(prefix).toContain(join(open.cacheDir, 'python'));
    expect(file.startsWith(prefix)).toBe(true);
  });

  it('fail the registration with what pip said when they cannot be had, and leave nothing', async () => {
    const failure: unknown = await serve(open, 'missing', '', 'tiny-dep-of-nobody').catch(
      (error: unknown) => error,
    );
    expect(reasonOf(failure)).toContain('Custom pip package installation failed: ');
    expect(reasonOf(failure)).toContain('tiny-dep-of-nobody');
    expect(readdirSync(join(open.cacheDir, 'python', 'staging'))).toEqual([]);
  });
});
