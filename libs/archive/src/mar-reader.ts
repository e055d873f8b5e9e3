import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MarlineError } from '#libs/common';
import { invalid, unsafe } from './archive-errors.js';
import type { ArchiveLimits } from './archive-limits.js';
import { Extractor } from './extractor.js';
import { copyFolder, digestOfListing, listFolder, sha256OfFile, type FolderFile } from './folder-reader.js';
import { EMPTY_MANIFEST, MANIFEST_PATH, parseManifest, type Manifest } from './manifest.js';
import { extractTar } from './tar-reader.js';
import { extractZip } from './zip-reader.js';

/** `nothing` is a `.mar` file that is no zip: TorchServe reads it as an archive without any file. */
type ArchiveKind = 'zip' | 'tar' | 'folder' | 'nothing';

/** An archive or folder that was looked at but not unpacked. */
export interface ArchiveSource {
  readonly path: string;
  readonly kind: ArchiveKind;
  /** Hex sha256 of the file's bytes, or of a folder's listing and contents. */
  readonly sha256: string;
  /** The files of a folder. */
  readonly files: readonly FolderFile[];
  /** What tells whether the file is still the one that was looked at. */
  readonly stamp: FileStamp;
}

interface FileStamp {
  readonly size: number;
  readonly inode: number;
  readonly modifiedMs: number;
}

const ZIP_MAGICS = [0x504b0304, 0x504b0506];
const LARGEST_MANIFEST_BYTES = 2 ** 20;

/**
 * Looks at an archive file or model folder: its kind and digest. A zip is known by its first bytes, every other file is
 * read as a gzip tar. A folder that holds nothing but one folder is entered (SageMaker's layout).
 * @throws MarlineError `ARCHIVE_UNSAFE` beyond a limit, `ARCHIVE_INVALID` when it is neither a file nor a folder
 */
export async function inspectArchive(path: string, limits: ArchiveLimits): Promise<ArchiveSource> {
  const status = await stat(path);
  const stamp = { size: status.size, inode: status.ino, modifiedMs: status.mtimeMs };
  if (status.isDirectory()) {
    const folder = await enterOnlyFolder(path);
    const files = await listFolder(folder, limits);
    return { path: folder, kind: 'folder', sha256: digestOfListing(files), files, stamp };
  }
  if (!status.isFile()) throw invalid('It is neither a file nor a folder.');
  if (status.size > limits.archiveBytes) throw unsafe(`It is larger than ${limits.archiveBytes} bytes.`);
  return { path, kind: await kindOf(path), sha256: await sha256OfFile(path), files: [], stamp };
}

/**
 * Unpacks an inspected archive into an empty folder that nobody else can write to.
 * @throws MarlineError `ARCHIVE_INVALID`, `ARCHIVE_UNSAFE`; then the folder holds a part of it and is to be removed
 */
export async function unpackArchive(
  source: ArchiveSource,
  target: string,
  limits: ArchiveLimits,
): Promise<void> {
  const extractor = await Extractor.into(
    target,
    limits,
    source.kind === 'folder' ? Infinity : source.stamp.size,
  );
  switch (source.kind) {
    case 'zip':
      await extractZip(source.path, extractor, limits);
      break;
    case 'tar':
      await extractTar(source.path, source.stamp.size, extractor, limits);
      break;
    case 'folder':
      return copyFolder(source.files, extractor);
    case 'nothing':
      break;
  }
  const now = await stat(source.path);
  if (
    now.size !== source.stamp.size ||
    now.ino !== source.stamp.inode ||
    now.mtimeMs !== source.stamp.modifiedMs
  ) {
    throw invalid('It changed while it was read; try again.');
  }
}

/**
 * The manifest of an unpacked archive; {@link EMPTY_MANIFEST} when it has none.
 * @throws MarlineError `ARCHIVE_INVALID` when it cannot be parsed, `ARCHIVE_UNSAFE` when it belongs to a workflow
 */
export async function readManifest(dir: string): Promise<Manifest> {
  const path = join(dir, MANIFEST_PATH);
  const file = await stat(path).catch(() => undefined);
  if (file === undefined) {
    const isWorkflow = (await stat(join(dir, 'WAR-INF')).catch(() => undefined)) !== undefined;
    if (isWorkflow) throw unsafe('It is a workflow archive, not a model archive.');
    return EMPTY_MANIFEST;
  }
  if (!file.isFile() || file.size > LARGEST_MANIFEST_BYTES) {
    throw new MarlineError('ARCHIVE_INVALID', { reason: 'Failed to parse signature.json.' });
  }
  return parseManifest(await readFile(path, 'utf8'));
}

async function kindOf(path: string): Promise<ArchiveKind> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(4);
    await file.read(head, 0, 4, 0);
    if (ZIP_MAGICS.includes(head.readUInt32BE(0))) return 'zip';
    return path.endsWith('.mar') ? 'nothing' : 'tar';
  } finally {
    await file.close();
  }
}

async function enterOnlyFolder(path: string): Promise<string> {
  const entries = await readdir(path, { withFileTypes: true });
  const [only] = entries;
  const isNested = entries.length === 1 && only?.isDirectory() === true && only.name !== 'MAR-INF';
  return isNested ? join(path, only.name) : path;
}
