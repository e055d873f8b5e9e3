import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { MarlineError, messageOf } from '#libs/common';
import { visibleEnv } from './worker-env.js';

const run = promisify(execFile);

/** A Python that was asked what it has. A package that it does not have is `null`. */
export interface Interpreter {
  /** As it was found: a path, or a name that the system looks up. */
  readonly command: string;
  readonly pythonVersion: string;
  /** Folder of TorchServe's package `ts`. */
  readonly torchServeDir: string | null;
  readonly packages: Readonly<Record<RequiredPackage, string | null>>;
}

/** What TorchServe's worker imports before it reads its first frame. */
export const REQUIRED_PACKAGES = ['torch', 'torchserve', 'psutil', 'pyyaml', 'packaging'] as const;
export type RequiredPackage = (typeof REQUIRED_PACKAGES)[number];

/** What can be wrong with a Python, and how to mend it. */
export interface Shortcoming {
  readonly what: string;
  readonly fix: string;
}

/** The version of `torchserve` whose worker speaks the protocol of this library. */
const TORCHSERVE_VERSION = '0.12.0';
/** Below this PyTorch's own packages cannot be installed. */
const LEAST_PYTHON = [3, 8] as const;
const PROBE_TIMEOUT_MS = 60_000;
const PROBE = `
import importlib.util, json, os, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
spec = importlib.util.find_spec("ts")
print(json.dumps({
    "pythonVersion": ".".join(map(str, sys.version_info[:3])),
    "torchServeDir": os.path.dirname(spec.origin) if spec and spec.origin else None,
    "packages": {name: version(name) for name in sys.argv[1:]},
}))`;

/**
 * The Python for an archive: what is configured, else the virtual environment in the archive's folder, else `python3`.
 * @param configured a path or a name that the system looks up; empty for none
 */
export function interpreterCommand(configured: string, archiveDir?: string): string {
  // Workers run elsewhere than where the path was written.
  if (configured !== '') return configured.includes(sep) ? resolve(configured) : configured;
  const own = archiveDir === undefined ? undefined : join(archiveDir, 'venv', 'bin', 'python');
  return own !== undefined && existsSync(own) ? own : 'python3';
}

const asked = new Map<string, Promise<Interpreter>>();

/**
 * Asks a Python what it has, once: a failure is forgotten, so that what was installed meanwhile is found.
 * @throws MarlineError `RUNTIME_UNSUPPORTED` when it cannot be run, or lacks what workers need; the text says how to get it
 */
export async function usableInterpreter(command: string): Promise<Interpreter & { torchServeDir: string }> {
  const found = asked.get(command) ?? askInterpreter(command);
  asked.set(command, found);
  try {
    const interpreter = await found;
    const [problem] = shortcomings(interpreter);
    const { torchServeDir } = interpreter;
    if (problem === undefined && torchServeDir !== null) return { ...interpreter, torchServeDir };
    throw unusable(`${problem?.what} ${problem?.fix}`);
  } catch (error) {
    asked.delete(command);
    throw error;
  }
}

/** Asks a Python what it has. @throws MarlineError `RUNTIME_UNSUPPORTED` when it cannot be run */
export async function askInterpreter(command: string): Promise<Interpreter> {
  try {
    // Not in the current folder: Python would import what lies there.
    const options = { cwd: '/', env: visibleEnv(), timeout: PROBE_TIMEOUT_MS };
    const { stdout } = await run(command, ['-c', PROBE, ...REQUIRED_PACKAGES], options);
    return { command, ...(JSON.parse(stdout) as Omit<Interpreter, 'command'>) };
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const what = missing
      ? `There is no Python "${command}".`
      : `"${command}" is no Python that works: ${lastLine(cause)}`;
    throw unusable(
      `${what} Install Python 3.11, or name one with the option python (MARLINE_PYTHON, --python).`,
      cause,
    );
  }
}

/** What a Python says when it imports the worker's modules; `undefined` when all is well. Takes seconds: PyTorch is among them. */
export async function importProblem(command: string): Promise<string | undefined> {
  try {
    const modules = 'import ts.model_loader, ts.protocol.otf_message_handler';
    await run(command, ['-c', modules], { cwd: '/', env: visibleEnv(), timeout: PROBE_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    return lastLine(error);
  }
}

/** What a Python lacks to run archives, the first thing to mend first; empty when all is there. */
export function shortcomings({
  command,
  pythonVersion,
  torchServeDir,
  packages,
}: Interpreter): Shortcoming[] {
  const [major = 0, minor = 0] = pythonVersion.split('.').map(Number);
  const [leastMajor, leastMinor] = LEAST_PYTHON;
  if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
    const what = `${command} is Python ${pythonVersion}, which is too old for PyTorch.`;
    return [{ what, fix: 'Install Python 3.11, or name another one with the option python.' }];
  }
  const missing = REQUIRED_PACKAGES.filter((name) => packages[name] === null);
  const found: Shortcoming[] = [];
  if (missing.length > 0) {
    const wanted = missing.map((name) =>
      name === 'torchserve' ? `torchserve==${TORCHSERVE_VERSION}` : name,
    );
    found.push({
      what: `${command} has no ${missing.join(', ')}.`,
      fix: `Install it: ${command} -m pip install ${wanted.join(' ')}`,
    });
  }
  const { torchserve } = packages;
  if (torchserve !== null && torchserve !== TORCHSERVE_VERSION) {
    found.push({
      what: `${command} has torchserve ${torchserve}, and workers of ${TORCHSERVE_VERSION} are what is understood here.`,
      fix: `Install that one: ${command} -m pip install torchserve==${TORCHSERVE_VERSION}`,
    });
  }
  if (torchserve !== null && torchServeDir === null) {
    found.push({
      what: `${command} has torchserve, but not its package ts.`,
      fix: `Install it again: ${command} -m pip install --force-reinstall torchserve==${TORCHSERVE_VERSION}`,
    });
  }
  return found;
}

function lastLine(error: unknown): string {
  return messageOf(error).trim().split('\n').at(-1) ?? '';
}

function unusable(reason: string, cause?: unknown): MarlineError {
  return new MarlineError('RUNTIME_UNSUPPORTED', { reason }, { cause });
}
