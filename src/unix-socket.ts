import { once } from 'node:events';
import { lstatSync, unlinkSync, type Stats } from 'node:fs';
import { connect } from 'node:net';

/**
 * Removes a socket that nobody listens on any more: a process that was killed leaves its socket behind, and it could not be bound
 * again. Nothing else is ever removed.
 * @throws Error with the code `EEXIST` for a file that is no socket, `EADDRINUSE` for a socket that is, or may be, listened on
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw withCode('EEXIST', `${path} is no socket`);
  if (!(await isRefused(path))) throw withCode('EADDRINUSE', `${path} is listened on`);
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now === undefined) return;
  // Another server may have taken the place while this one was looking.
  if (!isSame(found, now)) throw withCode('EADDRINUSE', `${path} was bound by another process`);
  unlinkSync(path);
}

/** Only a refusal says for sure that nobody listens: a listener that is busy, or another user's, answers otherwise. */
async function isRefused(path: string): Promise<boolean> {
  const probe = connect(path);
  try {
    await once(probe, 'connect');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  } finally {
    probe.destroy();
  }
}

function isSame(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev && a.ctimeMs === b.ctimeMs;
}

function withCode(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(message), { code });
}
