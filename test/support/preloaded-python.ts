import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** An interpreter whose scripts find modules imported already. */
export interface PreloadedPython {
  readonly python: string;
  close(): Promise<void>;
}

/**
 * Imports modules once, for scripts that each need seconds for that: a script that `python` is given runs in a copy of a process
 * that has them, and is otherwise what it would be. Its process id is not that of the process that was started, so this is for tests
 * of what scripts answer, and not of how they start and end. Whatever is no script runs in the interpreter itself.
 * @param interpreter that of a virtual environment, such as that of `pythonVenv()`
 * @param env finds the modules; scripts have their own
 */
export async function preloadedPython(
  interpreter: string,
  modules: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<PreloadedPython> {
  const venv = dirname(dirname(interpreter));
  const folder = mkdtempSync(join(tmpdir(), 'marline-python-'));
  const [python, socket] = [join(folder, 'bin/python'), join(folder, 'host.sock')];
  // A virtual environment of its own, whose packages are those of the other: Python goes by where it seems to lie.
  mkdirSync(dirname(python));
  symlinkSync(join(venv, 'lib'), join(folder, 'lib'));
  copyFileSync(join(venv, 'pyvenv.cfg'), join(folder, 'pyvenv.cfg'));
  const real = realpathSync(interpreter);
  const launcher = readFileSync(file('python_launcher.py'), 'utf8')
    .replace('${SOCKET}', JSON.stringify(socket))
    .replace('${REAL}', JSON.stringify(real));
  writeFileSync(python, `#!${real} -IS\n${launcher}`);
  chmodSync(python, 0o755);
  const host = spawn(interpreter, [file('python_host.py'), socket, ...modules], {
    cwd: '/',
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(host, 'exit');
  const failed = exited.then(() => {
    throw new Error(`${modules.join(', ')} cannot be imported.`);
  });
  await Promise.race([once(host.stdout, 'data'), failed]);
  return {
    python,
    async close() {
      host.stdin.end();
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
}
