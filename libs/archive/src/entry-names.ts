import type { MarlineError } from '#libs/common';
import { unsafe } from './archive-errors.js';
import type { ArchiveLimits } from './archive-limits.js';

const LONGEST_COMPONENT_BYTES = 255;

/**
 * Decides for one archive which entry names may become paths. A name that another system could read differently is
 * refused rather than repaired, since every repair so far has been another product's next hole.
 */
export class EntryNames {
  /** Folded path → its spelling and kind: two names that some file system takes for one are a collision. */
  private readonly seen = new Map<string, { readonly path: string; readonly kind: 'file' | 'folder' }>();

  constructor(private readonly limits: ArchiveLimits) {}

  /**
   * The relative path (`/` between its parts) of a file's entry name.
   * @throws MarlineError `ARCHIVE_UNSAFE` when the name leads out of the folder, is ambiguous, too long, too deep or taken
   */
  file(name: string): string {
    const parts = this.partsOf(name);
    if (parts.length === 0) throw refuse(name, 'names no file');
    this.claimFolders(name, parts.slice(0, -1));
    const path = parts.join('/');
    if (this.seen.has(fold(path))) throw refuse(name, 'collides with another entry');
    this.seen.set(fold(path), { path, kind: 'file' });
    return path;
  }

  /** As {@link EntryNames.file} for a folder, which may occur more than once; `''` is the archive's own root. */
  folder(name: string): string {
    const parts = this.partsOf(name);
    this.claimFolders(name, parts);
    return parts.join('/');
  }

  private partsOf(name: string): string[] {
    if (name.startsWith('/') || name.startsWith('\\') || /^[A-Za-z]:/.test(name))
      throw refuse(name, 'is an absolute path');
    if (name.includes('\\')) throw refuse(name, 'contains a backslash');
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    if (/[\u0000-\u001f\u007f]/.test(name)) throw refuse(name, 'contains a control character');
    if (Buffer.byteLength(name) > this.limits.pathBytes)
      throw refuse(name, `is longer than ${this.limits.pathBytes} bytes`);
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.length > this.limits.depth + 1)
      throw refuse(name, `is deeper than ${this.limits.depth} folders`);
    for (const part of parts) {
      if (part === '..') throw refuse(name, 'points outside the archive');
      if (/[. ]$/.test(part)) throw refuse(name, 'has a part that ends in a dot or a blank');
      if (Buffer.byteLength(part) > LONGEST_COMPONENT_BYTES)
        throw refuse(name, `has a part longer than ${LONGEST_COMPONENT_BYTES} bytes`);
    }
    return parts;
  }

  private claimFolders(name: string, parts: readonly string[]): void {
    for (let length = 1; length <= parts.length; length += 1) {
      const path = parts.slice(0, length).join('/');
      const known = this.seen.get(fold(path));
      if (known !== undefined && (known.kind === 'file' || known.path !== path))
        throw refuse(name, 'collides with another entry');
      this.seen.set(fold(path), { path, kind: 'folder' });
    }
  }
}

/** An entry's name for a message: quoted, control characters escaped, shortened. */
export function quoteName(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name);
}

function fold(path: string): string {
  return path.normalize('NFC').toLowerCase().normalize('NFC');
}

function refuse(name: string, why: string): MarlineError {
  return unsafe(`The entry ${quoteName(name)} ${why}.`);
}
