import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { invalid, unsafe } from './archive-errors.js';
import type { ArchiveLimits } from './archive-limits.js';
import { quoteName } from './entry-names.js';
import type { Extractor } from './extractor.js';

/** One regular file of a model folder. */
export interface FolderFile {
  /** Relative to the folder, `/` between its parts. */
  readonly name: string;
  /** The file itself: links are resolved. */
  readonly path: string;
  /** Hex sha256 of its bytes when it was listed. */
  readonly sha256: string;
}

/**
 * All regular files below a folder, sorted by name, with their digests. A link is followed to a file inside the folder only.
 * @throws MarlineError `ARCHIVE_UNSAFE` for a link that leads out or to a folder, for devices and sockets, and beyond a limit
 */
export async function listFolder(folder: string, limits: ArchiveLimits): Promise<FolderFile[]> {
  const root = await realpath(folder);
  const names: { name: string; path: string }[] = [];
  let entries = 0;
  let bytes = 0;
  const walk = async (prefix: string, depth: number): Promise<void> => {
    if (depth > limits.depth) throw unsafe(`The folder is deeper than ${limits.depth} folders.`);
    for (const entry of await readdir(join(root, prefix), { withFileTypes: true })) {
      entries += 1;
      if (entries > limits.entries) throw unsafe(`The folder has more than ${limits.entries} entries.`);
      const name = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory()) {
        await walk(name, depth + 1);
        continue;
      }
      const path = entry.isFile() ? join(root, name) : await linkedFile(root, name, entry.isSymbolicLink());
      bytes += (await stat(path)).size;
      if (bytes > limits.totalBytes) throw unsafe(`The folder holds more than ${limits.totalBytes} bytes.`);
      names.push({ name, path });
    }
  };
  await walk('', 0);
  names.sort((a, b) => (a.name < b.name ? -1 : 1));
  const files: FolderFile[] = [];
  for (const { name, path } of names) files.push({ name, path, sha256: await sha256OfFile(path) });
  return files;
}

/** One digest for a listing: equal for equal names and contents. */
export function digestOfListing(files: readonly FolderFile[]): string {
  const hash = createHash('sha256');
  for (const { name, sha256 } of files) hash.update(`${JSON.stringify(name)} ${sha256}\n`);
  return hash.digest('hex');
}

/**
 * Copies listed files. Copies, not hard links: whoever overwrites a file of the store in place would change a model that
 * is being served, under the very memory mapping of its weights.
 * @throws MarlineError `ARCHIVE_INVALID` when a file is no longer what was listed
 */
export async function copyFolder(files: readonly FolderFile[], extractor: Extractor): Promise<void> {
  for (const file of files) {
    const hash = createHash('sha256');
    await extractor.file(file.name, hashed(file.path, hash));
    if (hash.digest('hex') !== file.sha256)
      throw invalid(`The file ${quoteName(file.name)} changed while it was read; try again.`);
  }
}

/** Hex sha256 of a file's bytes. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function linkedFile(root: string, name: string, isLink: boolean): Promise<string> {
  const target = isLink ? await realpath(join(root, name)).catch(() => undefined) : undefined;
  if (target?.startsWith(root + sep) === true && (await stat(target)).isFile()) return target;
  throw unsafe(
    `The entry ${quoteName(name)} is neither a regular file, nor a folder, nor a link to a file of the same folder.`,
  );
}

async function* hashed(path: string, hash: ReturnType<typeof createHash>): AsyncGenerator<Buffer> {
  // The listing resolved all links; one that appeared since then is not followed.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  for await (const chunk of file.createReadStream({ highWaterMark: 2 ** 20 })) {
    hash.update(chunk as Buffer);
    yield chunk as Buffer;
  }
}
