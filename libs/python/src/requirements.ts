import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MarlineError, messageOf } from '#libs/common';
import { envOf } from '#libs/pool';
import { usableInterpreter } from './interpreter.js';
import { visibleEnv } from './worker-env.js';

const run = promisify(execFile);

/** What is installed, and where. */
export interface RequirementsOptions {
  /** The Python whose pip installs. */
  readonly interpreter: string;
  /** Absolute path of a `requirements.txt`. */
  readonly requirements: string;
  /** Where relative paths in it start. */
  readonly archiveDir: string;
  /** An empty folder: packages themselves go there, or a `venv` in which they are. */
  readonly target: string;
  readonly useVenv: boolean;
}

/** A download of PyTorch over a slow line takes that long. */
const LIMIT_MS = 30 * 60_000;
const MAX_OUTPUT_BYTES = 16 * 2 ** 20;
/** What is told of pip's last words. */
const MAX_WORDS = 1500;
/** Where pip looks for packages. Workers see none of it: an address of an index may hold a password. */
const NETWORK = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
];

/** The interpreter of the virtual environment that {@link installRequirements} made in a folder. */
export function venvInterpreter(target: string): string {
  return join(target, 'venv', 'bin', 'python');
}

/**
 * Installs what an archive requires, with pip. That runs code of whoever wrote these packages, with the rights of this process.
 * @throws MarlineError `RUNTIME_UNSUPPORTED` with what pip said, or what the Python lacks
 */
export async function installRequirements(options: RequirementsOptions): Promise<void> {
  const { requirements, archiveDir, target, useVenv } = options;
  const { command, torchServeDir } = await usableInterpreter(options.interpreter);
  const pipNames = Object.keys(process.env).filter((name) => name.startsWith('PIP_'));
  const env = { ...visibleEnv(), ...envOf([...NETWORK, ...pipNames]) };
  const python = (interpreter: string, args: readonly string[]) =>
    run(interpreter, args, {
      cwd: archiveDir,
      env,
      timeout: LIMIT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: MAX_OUTPUT_BYTES,
    });
  const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--upgrade'];
  try {
    if (!useVenv) {
      await python(command, [...pip, '--target', target, '-r', requirements]);
      return;
    }
    // TorchServe's own script: the environment sees the packages of the Python that makes it.
    await python(command, [join(torchServeDir, 'utils', 'setup_model_venv.py'), join(target, 'venv')]);
    const needed = ['--upgrade-strategy', 'only-if-needed', '-r', requirements];
    await python(venvInterpreter(target), [...pip, ...needed]);
  } catch (cause) {
    const { stderr } = cause as { readonly stderr?: string };
    const words = (stderr?.trim() || messageOf(cause)).slice(-MAX_WORDS);
    const reason = `Custom pip package installation failed: ${words}`;
    throw new MarlineError('RUNTIME_UNSUPPORTED', { reason }, { cause });
  }
}
