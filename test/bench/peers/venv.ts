import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { PEERS_FOLDER, peersFolder } from './folders.js';

/** A virtual environment of one peer: the packages that must be there, with exact versions. */
export interface Venv {
  readonly name: string;
  readonly packages: readonly string[];
  /** The interpreter to build it with; `python3` of the path by default. */
  readonly python?: string;
}

/** The path of a program in a peer's virtual environment. */
export const venvProgram = (name: string, program: string): string => `${PEERS_FOLDER}${name}/bin/${program}`;

/** Builds the environment, or completes it when its packages are not those of the last time. */
export function ensureVenv({ name, packages, python = 'python3' }: Venv): void {
  const folder = peersFolder(name);
  const stamp = `${folder}/marline-packages.txt`;
  const wanted = packages.join('\n');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  process.stderr.write(`installing ${packages.join(' ')}\n`);
  if (!existsSync(venvProgram(name, 'python'))) must(python, ['-m', 'venv', folder]);
  must(venvProgram(name, 'python'), [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    ...packages,
  ]);
  writeFileSync(stamp, wanted);
}

function must(program: string, argv: readonly string[]): void {
  const { status, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${argv.join(' ')} failed.\n${stderr}`);
}
