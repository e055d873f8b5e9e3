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
/** That, what turns a PyTorch model into an ONNX one, and what reads metrics. */
const PACKAGES = [
  ...TORCHSERVE_PACKAGES,
  'onnx==1.23.2',
  'onnxscript==0.7.2',
  'onnxruntime==1.30.0',
  'prometheus-client==0.26.0',
];
/** Clients of gRPC and of the open inference protocol, and what makes stubs of proto files. */
const CLIENT_PACKAGES = [
  'grpcio==1.85.3',
  'grpcio-tools==1.85.1',
  'tritonclient[grpc,http]==2.41.0',
  'numpy==2.4.6',
];
const LEAST_PYTHON = '3.11';
const LOCK_POLL_MS = 250;

/** The interpreter of a virtual environment of the tests, or why there cannot be one here. */
export type PythonVenv =
  | { readonly python: string; readonly missing?: never }
  | { readonly python?: never; readonly missing: string };

/** The virtual environment with the real TorchServe worker. Making it takes minutes: it installs PyTorch. See {@link venvWith}. */
export function pythonVenv(): Promise<PythonVenv> {
  return venvWith('python-venv', PACKAGES);
}

/** The virtual environment with Python clients. See {@link venvWith}. */
export function clientVenv(): Promise<PythonVenv> {
  return venvWith('python-client-venv', CLIENT_PACKAGES);
}

/**
 * A virtual environment below `.marline`. It is made once and used again as long as the list of its packages stays the same; test
 * files that ask at the same time wait for one another. Throws when there is a Python but the packages cannot be installed.
 */
async function venvWith(name: string, packages: readonly string[]): Promise<PythonVenv> {
  const folder = fileURLToPath(new URL(`../../.marline/${name}`, import.meta.url));
  const lock = `${folder}.lock`;
  const venv = { python: `${folder}/bin/python` };
  if (isMade(folder, packages)) return venv;
  const missing = await whyNoPython();
  if (missing !== undefined) return { missing };
  mkdirSync(folder.slice(0, folder.lastIndexOf('/')), { recursive: true });
  while (!takeLock(lock)) await sleep(LOCK_POLL_MS);
  try {
    if (!isMade(folder, packages)) await make(folder, packages);
  } finally {
    rmSync(lock, { force: true });
  }
  return venv;
}

function isMade(folder: string, packages: readonly string[]): boolean {
  const stamp = stampOf(folder);
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === packages.join('\n');
}

const stampOf = (folder: string): string => `${folder}/packages.txt`;

async function whyNoPython(): Promise<string | undefined> {
  const wanted = `import sys, venv, ensurepip; sys.exit(sys.version_info < (${LEAST_PYTHON.replace('.', ', ')}))`;
  try {
    await run('python3', ['-c', wanted]);
    return undefined;
  } catch {
    return `there is no python3 of version ${LEAST_PYTHON} or later with the venv module on this machine`;
  }
}

async function make(folder: string, packages: readonly string[]): Promise<void> {
  process.stderr.write(`installing ${packages.join(' ')}\n`);
  rmSync(folder, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', folder]);
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  await run(`${folder}/bin/python`, [...install, ...packages]);
  writeFileSync(stampOf(folder), packages.join('\n'));
}

/** The lock is a file that holds its owner's process id; one of a process that is gone is taken over. */
function takeLock(lock: string): boolean {
  try {
    writeFileSync(lock, `${process.pid}`, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!isHeld(lock)) rmSync(lock, { force: true });
    return false;
  }
}

function isHeld(lock: string): boolean {
  try {
    const owner = Number(readFileSync(lock, 'utf8'));
    // An empty file is one that its owner is about to write to.
    if (owner > 0) process.kill(owner, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
