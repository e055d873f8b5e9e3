import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** TorchServe with its worker and archiver, and what they import. */
export const TORCHSERVE_PACKAGES: readonly string[] = [
  'torch==2.13.0',
  'torchserve==0.12.0',
  'torch-model-archiver==0.12.0',
  'psutil==7.2.2',
  'pyyaml==6.0.3',
  'requests==2.34.2',
  'packaging==26.3',
  'setuptools==84.2.1',
  'numpy==2.4.6',
  'pillow==13.0.0',
  'captum==0.9.0',
];
/** That, and what turns a PyTorch model into an ONNX one. */
const PACKAGES = [...TORCHSERVE_PACKAGES, 'onnx==1.23.2', 'onnxscript==0.7.2', 'onnxruntime==1.30.0'];
const LEAST_PYTHON = '3.11';
const LOCK_POLL_MS = 250;

const folder = fileURLToPath(new URL('../../.marline/python-venv', import.meta.url));
const interpreter = `${folder}/bin/python`;
const stamp = `${folder}/packages.txt`;
const lock = `${folder}.lock`;

/** The interpreter of the virtual environment of the tests, or why there cannot be one here. */
export type PythonVenv =
  | { readonly python: string; readonly missing?: never }
  | { readonly python?: never; readonly missing: string };

/**
 * The virtual environment with the real TorchServe worker. It is made once (minutes: it installs PyTorch), below
 * `.marline`, and used again as long as the list of its packages stays the same; test files that ask at the same time
 * wait for one another. Throws when there is a Python but the packages cannot be installed.
 */
export async function pythonVenv(): Promise<PythonVenv> {
  if (isMade()) return { python: interpreter };
  const missing = await whyNoPython();
  if (missing !== undefined) return { missing };
  mkdirSync(folder.slice(0, folder.lastIndexOf('/')), { recursive: true });
  while (!takeLock()) await sleep(LOCK_POLL_MS);
  try {
    if (!isMade()) await make();
  } finally {
    rmSync(lock, { force: true });
  }
  return { python: interpreter };
}

const isMade = (): boolean => existsSync(stamp) && readFileSync(stamp, 'utf8') === PACKAGES.join('\n');

async function whyNoPython(): Promise<string | undefined> {
  const wanted = `import sys, venv, ensurepip; sys.exit(sys.version_info < (${LEAST_PYTHON.replace('.', ', ')}))`;
  try {
    await run('python3', ['-c', wanted]);
    return undefined;
  } catch {
    return `there is no python3 of version ${LEAST_PYTHON} or later with the venv module on this machine`;
  }
}

async function make(): Promise<void> {
  process.stderr.write(`installing ${PACKAGES.join(' ')}\n`);
  rmSync(folder, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', folder]);
  await run(interpreter, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES]);
  writeFileSync(stamp, PACKAGES.join('\n'));
}

/** The lock is a file that holds its owner's process id; one of a process that is gone is taken over. */
function takeLock(): boolean {
  try {
    writeFileSync(lock, `${process.pid}`, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!isHeld()) rmSync(lock, { force: true });
    return false;
  }
}

function isHeld(): boolean {
  try {
    const owner = Number(readFileSync(lock, 'utf8'));
    // An empty file is one that its owner is about to write to.
    if (owner > 0) process.kill(owner, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
