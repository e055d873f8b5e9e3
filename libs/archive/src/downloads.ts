import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { formatIdentity, isAlive, parseIdentity, thisProcess } from './process-identity.js';

/** Folders for what is being downloaded, each for its process alone. */
export class Downloads {
  /** @param dir belongs to downloads alone; processes may share it */
  constructor(private readonly dir: string) {}

  /** Gives `use` an empty folder, and removes it afterwards with all that is in it. */
  async within<T>(use: (folder: string) => Promise<T>): Promise<T> {
    const folder = join(this.dir, `${formatIdentity(thisProcess())}.${randomBytes(6).toString('hex')}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      return await use(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Removes what processes left behind that are gone. */
  async sweep(): Promise<void> {
    for (const name of await readdir(this.dir).catch(() => [])) {
      const owner = parseIdentity(name);
      if (owner === undefined || !isAlive(owner))
        await rm(join(this.dir, name), { recursive: true, force: true });
    }
  }
}
