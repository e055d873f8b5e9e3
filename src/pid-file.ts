import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MarlineError } from '#libs/common';
import { formatIdentity, isAlive, parseIdentity, thisProcess, type ProcessIdentity } from '#libs/archive';

/** What the PID file says. */
export type PidFileState =
  | { readonly kind: 'absent' }
  /** It was left behind: its process has ended. */
  | { readonly kind: 'orphan' }
  | { readonly kind: 'running'; readonly server: ProcessIdentity }
  /** Nothing that we may act on, and why. */
  | { readonly kind: 'foreign'; readonly reason: string };

const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const WRITABLE_BY_OTHERS = 0o022;
const MOST_BYTES = 1024;

/**
 * Where the server of this temporary folder leaves its process id: TorchServe's `.model_server.pid`.
 * @throws MarlineError `OPTIONS_INVALID` when the temporary folder is none
 */
export function pidFilePath(environment: NodeJS.ProcessEnv = process.env): string {
  const named = environment['TEMP'];
  for (const folder of [named || tmpdir(), tmpdir()]) {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) continue;
    const variable = folder === named ? 'TEMP' : 'TMPDIR';
    throw refusal(`Invalid temp directory: ${folder}, please check ${variable} environment variable.`);
  }
  return join(tmpdir(), '.model_server.pid');
}

/** Anybody can put a file into a folder for temporary files: only one that this user alone can write is believed. */
export function readPidFile(path: string): PidFileState {
  let file: number;
  try {
    file = openSync(path, READ);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'absent' };
    return foreign(path, 'cannot be read as a file of yours');
  }
  try {
    const { mode, uid, size } = fstatSync(file);
    const isOurs =
      process.getuid === undefined || (uid === process.getuid() && (mode & WRITABLE_BY_OTHERS) === 0);
    if (!isOurs || (mode & constants.S_IFMT) !== constants.S_IFREG || size > MOST_BYTES)
      return foreign(path, 'is no file that you alone can write');
    return stateOf(path, readFileSync(file, 'utf8'));
  } finally {
    closeSync(file);
  }
}

/**
 * Makes this process the server of the file's folder. The first line is the process id, as in TorchServe's file; the second one
 * tells this process from a later one with the same id.
 * @returns gives it up again
 * @throws MarlineError `OPTIONS_INVALID` when there is such a server already, or the file is not ours
 */
export function claimPidFile(path: string): () => void {
  refuseSecond(path);
  rmSync(path, { force: true });
  const identity = formatIdentity(thisProcess());
  const staging = `${path}.${identity}`;
  // A link is there as a whole or not at all, and never replaces what somebody else has put there meanwhile.
  writeFileSync(staging, `${process.pid}\n${identity}\n`, { flag: 'wx', mode: 0o600 });
  try {
    linkSync(staging, path);
  } catch (cause) {
    refuseSecond(path);
    throw refusal(`${path} cannot be written.`, cause);
  } finally {
    rmSync(staging, { force: true });
  }
  return () => {
    const state = readPidFile(path);
    if (state.kind === 'running' && formatIdentity(state.server) === identity) rmSync(path, { force: true });
  };
}

/** @throws MarlineError `OPTIONS_INVALID` when a server runs already, or the file is not ours */
export function refuseSecond(path: string): void {
  const state = readPidFile(path);
  if (state.kind === 'foreign') throw refusal(state.reason);
  if (state.kind === 'running')
    throw refusal(
      `Marline is already running (process ${state.server.pid}), please use marline serve --stop to stop it.`,
    );
}

function stateOf(path: string, text: string): PidFileState {
  const [first = '', second = ''] = text.split('\n');
  const server = parseIdentity(second);
  if (server === undefined || String(server.pid) !== first) {
    const pid = /^\d{1,10}$/.test(first) ? Number(first) : 0;
    return pid > 0 && exists(pid)
      ? foreign(path, `names process ${pid}, which is no server of Marline`)
      : { kind: 'orphan' };
  }
  if (server.host !== thisProcess().host)
    return foreign(path, 'names a server of another machine or container');
  return isAlive(server) ? { kind: 'running', server } : { kind: 'orphan' };
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function foreign(path: string, what: string): PidFileState {
  const remedy =
    'It was left alone: end that server and remove the file, or set TMPDIR to a folder of your own';
  return { kind: 'foreign', reason: `${path} ${what}. ${remedy}.` };
}

function refusal(reason: string, cause?: unknown): MarlineError {
  return new MarlineError('OPTIONS_INVALID', { reason }, { cause });
}
