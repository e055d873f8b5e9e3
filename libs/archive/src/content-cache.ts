import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm, rmdir, stat, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { MarlineError, messageOf } from '#libs/common';
import { formatIdentity, isAlive, parseIdentity, thisProcess } from './process-identity.js';

/** A folder of the cache that stays as long as it is held. */
export interface HeldContent {
  /** Complete and never changed, mode 0700. */
  readonly dir: string;
  /** Gives it back; the last holder on this machine removes it. May be called twice. */
  release(): Promise<void>;
}

interface Entry {
  readonly held: Promise<Lease>;
  holders: number;
}

interface Lease {
  readonly dir: string;
  readonly file: string;
}

const KEY = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,200}$/;
const LEASES = 'leases';
const CONTENT = 'content-';
/** Far more than other processes can publish and remove while this one looks. */
const MOST_TRIES = 100;

/**
 * Folders by the key of their content, shared by all processes of a machine.
 *
 * A folder is built aside and renamed into place together with its first lease, a file that names a process. Two things
 * carry the protocol. `rmdir` removes the folder of leases only while it is empty, and from then on nobody can add one:
 * the content is dead. And content has a name that never comes back, so that whoever finds it dead may move it away,
 * however late it gets to it. A holder that is killed leaves a lease that names a dead process; the next release or
 * {@link ContentCache.sweep} passes over it.
 *
 * Layout: `entries/<key>/{content-<id>,leases}`, `staging/` for what is being built, `trash/` for what is being removed.
 *
 * @example
 * const held = await cache.acquire('weights-1f3a', (staging) => writeFile(join(staging, 'model.ort'), bytes));
 * try { serve(held.dir) } finally { await held.release() }
 */
export class ContentCache {
  private readonly entries = new Map<string, Entry>();
  private prepared?: Promise<void>;

  /** @param dir belongs to this cache alone; created with mode 0700 when it is missing */
  constructor(private readonly dir: string) {}

  /**
   * Holds the folder of `key`; `build` fills an empty folder when there is none yet. Callers in this process share one
   * build; of two processes that build at once the second discards its own.
   * @throws what `build` throws; MarlineError `OPTIONS_INVALID` when the cache folder cannot be used safely
   */
  async acquire(key: string, build: (stagingDir: string) => Promise<void>): Promise<HeldContent> {
    if (!KEY.test(key)) throw new MarlineError('INTERNAL', { reason: `"${key}" is no cache key.` });
    const entry = this.entries.get(key) ?? { held: this.lease(key, build), holders: 0 };
    this.entries.set(key, entry);
    entry.holders += 1;
    try {
      const lease = await entry.held;
      return { dir: lease.dir, release: once(() => this.giveBack(key, entry, lease)) };
    } catch (error) {
      if (this.entries.get(key) === entry) this.entries.delete(key);
      throw error;
    }
  }

  /** Removes what no living process holds: call it at start. Never touches what another process builds or holds. */
  async sweep(): Promise<void> {
    await this.prepare();
    for (const key of await list(this.path('entries'))) await this.removeIfFree(key);
    for (const name of await list(this.path('staging'))) {
      const owner = parseIdentity(name);
      if (owner === undefined || !isAlive(owner)) await remove(this.path('staging', name));
    }
    for (const name of await list(this.path('trash'))) await remove(this.path('trash', name));
  }

  private async lease(key: string, build: (stagingDir: string) => Promise<void>): Promise<Lease> {
    await this.prepare();
    const name = uniqueName();
    const file = this.path('entries', key, LEASES, name);
    if (await addLease(file)) return this.leased(key, file);
    const staging = this.path('staging', name);
    const content = join(staging, CONTENT + randomBytes(8).toString('hex'));
    try {
      await mkdir(join(staging, LEASES), { recursive: true, mode: 0o700 });
      await mkdir(content, { mode: 0o700 });
      await build(content);
      await writeFile(join(staging, LEASES, name), '', { flag: 'wx', mode: 0o600 });
      for (let tries = 0; tries < MOST_TRIES; tries += 1) {
        if (await renamed(staging, this.path('entries', key))) return await this.leased(key, file);
        // Another process was faster: its content is as good, unless it is dead by now.
        if (await addLease(file)) return await this.leased(key, file);
        await this.clearDead(key);
      }
      throw new MarlineError('INTERNAL', {
        reason: 'A folder of the cache can neither be used nor replaced.',
      });
    } finally {
      await remove(staging);
    }
  }

  private async leased(key: string, file: string): Promise<Lease> {
    const names = await readdir(this.path('entries', key));
    return { dir: this.path('entries', key, names.find((name) => name.startsWith(CONTENT)) ?? ''), file };
  }

  private async giveBack(key: string, entry: Entry, lease: Lease): Promise<void> {
    entry.holders -= 1;
    if (entry.holders > 0) return;
    if (this.entries.get(key) === entry) this.entries.delete(key);
    await unlink(lease.file).catch(() => undefined);
    await this.removeIfFree(key);
  }

  private async removeIfFree(key: string): Promise<void> {
    const leases = this.path('entries', key, LEASES);
    for (const name of await list(leases)) {
      const holder = parseIdentity(name);
      if (holder !== undefined && isAlive(holder)) return;
      await unlink(join(leases, name)).catch(() => undefined);
    }
    await rmdir(leases).catch(() => undefined);
    await this.clearDead(key);
  }

  /** Moves content without leases away: after its own `rmdir`, or for a process that was killed behind it. */
  private async clearDead(key: string): Promise<void> {
    const names = await list(this.path('entries', key));
    if (names.includes(LEASES)) return;
    for (const name of names) {
      const trash = this.path('trash', uniqueName());
      if (await renamed(this.path('entries', key, name), trash)) await remove(trash);
    }
    await rmdir(this.path('entries', key)).catch(() => undefined);
  }

  private prepare(): Promise<void> {
    this.prepared ??= prepareFolder(this.dir).catch((error: unknown) => {
      this.prepared = undefined;
      throw error;
    });
    return this.prepared;
  }

  private path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }
}

/** Code is loaded from here: a folder that others may write to, or that somebody else made first, is no place for it. */
async function prepareFolder(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const status = await lstat(dir);
    const user = process.getuid?.() ?? status.uid;
    if (!status.isDirectory()) throw new Error('it is not a folder');
    if (status.uid !== user) throw new Error('it belongs to another user');
    // Whoever owns the folder above could put another one in its place.
    if (![0, user].includes((await stat(dirname(dir))).uid))
      throw new Error('the folder above it belongs to another user');
    if ((status.mode & 0o077) !== 0) await chmod(dir, 0o700);
    for (const part of ['entries', 'staging', 'trash'])
      await mkdir(join(dir, part), { recursive: true, mode: 0o700 });
  } catch (error) {
    const why = codeOf(error) ?? messageOf(error);
    const reason = `The cache folder "${basename(dir)}" cannot be used (${why}); set cacheDir to a folder of the server's own user.`;
    throw new MarlineError('OPTIONS_INVALID', { reason }, { cause: error });
  }
}

async function addLease(file: string): Promise<boolean> {
  try {
    await writeFile(file, '', { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(codeOf(error) ?? '')) return false;
    throw error;
  }
}

async function list(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => []);
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

function uniqueName(): string {
  return `${formatIdentity(thisProcess())}.${randomBytes(6).toString('hex')}`;
}

function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= action());
}

function codeOf(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}
