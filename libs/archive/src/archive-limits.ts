/** How much an archive may hold. All of it is counted while reading; what an archive says about itself is not believed. */
export interface ArchiveLimits {
  /** Bytes of the archive file itself. Default 8 GiB. */
  readonly archiveBytes: number;
  /** Files and folders. Default 10,000. */
  readonly entries: number;
  /** Bytes of one unpacked file. Default 8 GiB. */
  readonly entryBytes: number;
  /** Bytes of all unpacked files together. Default 16 GiB; never more than the disk has free. */
  readonly totalBytes: number;
  /** Unpacked bytes per byte of the archive; looked at beyond {@link RATIO_FREE_BYTES}. Default 200. */
  readonly ratio: number;
  /** Bytes of one path inside the archive. Default 1,024. */
  readonly pathBytes: number;
  /** Folders above one file. Default 32. */
  readonly depth: number;
}

const GIB = 2 ** 30;

/** Generous for models, hopeless for bombs: deflate reaches a ratio of about 1,000 on nothing but zeros. */
export const DEFAULT_ARCHIVE_LIMITS: ArchiveLimits = {
  archiveBytes: 8 * GIB,
  entries: 10_000,
  entryBytes: 8 * GIB,
  totalBytes: 16 * GIB,
  ratio: 200,
  pathBytes: 1024,
  depth: 32,
};

/** Small archives may be as dense as they like: a test model of zeros is no bomb. */
export const RATIO_FREE_BYTES = 64 * 2 ** 20;

/** Disk space that unpacking leaves to everybody else. */
export const RESERVED_DISK_BYTES = 64 * 2 ** 20;
