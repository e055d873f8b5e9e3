import { mkdir, open, statfs } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { unsafe } from './archive-errors.js';
import { RATIO_FREE_BYTES, RESERVED_DISK_BYTES, type ArchiveLimits } from './archive-limits.js';
import { EntryNames, quoteName } from './entry-names.js';

/**
 * The only code that turns entries of an archive into files. Zip, tar and folder readers hand it names and bytes; it
 * creates new regular files (0600) and folders (0700) below one root, and counts everything as it arrives.
 * All its refusals are MarlineErrors `ARCHIVE_UNSAFE`; what was written until then is the caller's to remove.
 */
export class Extractor {
  private readonly names: EntryNames;
  private readonly folders = new Set<string>();
  private entries = 0;
  private totalBytes = 0;

  private constructor(
    private readonly root: string,
    private readonly limits: ArchiveLimits,
    private readonly archiveBytes: number,
    private readonly freeBytes: number,
  ) {
    this.names = new EntryNames(limits);
  }

  /**
   * @param root an existing folder that nobody else writes to
   * @param archiveBytes size of what is unpacked, for the ratio; `Infinity` when nothing is compressed
   */
  static async into(root: string, limits: ArchiveLimits, archiveBytes: number): Promise<Extractor> {
    const disk = await statfs(root);
    return new Extractor(root, limits, archiveBytes, disk.bavail * disk.bsize - RESERVED_DISK_BYTES);
  }

  /** Creates a folder of the archive and those above it. */
  async folder(name: string): Promise<void> {
    this.countEntry();
    await this.makeFolder(this.pathOf(this.names.folder(name)));
  }

  /** Writes one file of the archive from its bytes. */
  async file(name: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    this.countEntry();
    const path = this.pathOf(this.names.file(name));
    await this.makeFolder(dirname(path));
    const file = await open(path, 'wx', 0o600);
    try {
      let entryBytes = 0;
      for await (const chunk of bytes) {
        entryBytes += chunk.byteLength;
        this.countBytes(name, entryBytes, chunk.byteLength);
        await file.writeFile(chunk);
      }
    } finally {
      await file.close();
    }
  }

  private countEntry(): void {
    this.entries += 1;
    if (this.entries > this.limits.entries) throw unsafe(`It has more than ${this.limits.entries} entries.`);
  }

  private countBytes(name: string, entryBytes: number, chunkBytes: number): void {
    this.totalBytes += chunkBytes;
    if (entryBytes > this.limits.entryBytes) {
      throw unsafe(`The entry ${quoteName(name)} unpacks to more than ${this.limits.entryBytes} bytes.`);
    }
    if (this.totalBytes > this.limits.totalBytes)
      throw unsafe(`It unpacks to more than ${this.limits.totalBytes} bytes.`);
    if (this.totalBytes > this.freeBytes) throw unsafe('There is not enough free disk space to unpack it.');
    if (exceedsRatio(this.totalBytes, this.archiveBytes, this.limits)) {
      throw unsafe(`It unpacks to more than ${this.limits.ratio} times its size.`);
    }
  }

  private pathOf(relative: string): string {
    const path = join(this.root, relative);
    if (path !== this.root && !path.startsWith(this.root + sep))
      throw unsafe('An entry points outside the archive.');
    return path;
  }

  private async makeFolder(path: string): Promise<void> {
    if (path === this.root || this.folders.has(path)) return;
    await mkdir(path, { recursive: true, mode: 0o700 });
    this.folders.add(path);
  }
}

/** Whether so many unpacked bytes are suspicious for an archive of that size. */
export function exceedsRatio(unpackedBytes: number, archiveBytes: number, limits: ArchiveLimits): boolean {
  return unpackedBytes > RATIO_FREE_BYTES && unpackedBytes > archiveBytes * limits.ratio;
}
