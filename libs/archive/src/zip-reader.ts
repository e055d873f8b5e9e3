import { pipeline } from 'node:stream';
import { crc32, createInflateRaw } from 'node:zlib';
import yauzl, { type Entry, type ZipFile } from 'yauzl';
import { invalid, readFailure, unsafe } from './archive-errors.js';
import type { ArchiveLimits } from './archive-limits.js';
import { quoteName } from './entry-names.js';
import type { Extractor } from './extractor.js';

const LOCAL_HEADER_BYTES = 30;
/** Names, extra fields and comments of the whole directory: more than any archiver writes, less than hurts. */
const DIRECTORY_TEXT_BYTES = 32 * 2 ** 20;
const FILE_TYPE = 0o170000;
const REGULAR_FILE = 0o100000;
const FOLDER = 0o040000;

/**
 * Unpacks a zip file.
 * @throws MarlineError `ARCHIVE_INVALID` when it is damaged, encrypted or compressed in another way than by deflate;
 * `ARCHIVE_UNSAFE` for entries that overlap, that are neither file nor folder, and all that the extractor refuses
 */
export async function extractZip(path: string, extractor: Extractor, limits: ArchiveLimits): Promise<void> {
  const options = { lazyEntries: true, autoClose: false, decodeStrings: false, validateEntrySizes: true };
  const zip = await yauzl.openPromise(path, options).catch((error: unknown) => {
    throw readFailure(error, 'zip file');
  });
  try {
    const entries = await readDirectory(zip, limits);
    refuseOverlaps(entries);
    for (const entry of entries) await extractEntry(zip, entry, extractor);
  } catch (error) {
    throw readFailure(error, 'zip file');
  } finally {
    zip.close();
  }
}

async function readDirectory(zip: ZipFile, limits: ArchiveLimits): Promise<Entry[]> {
  if (zip.entryCount > limits.entries) throw unsafe(`It has more than ${limits.entries} entries.`);
  const entries: Entry[] = [];
  let textBytes = 0;
  for await (const entry of zip.eachEntry()) {
    textBytes += entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength;
    if (textBytes > DIRECTORY_TEXT_BYTES) throw unsafe('Its directory is too large.');
    entries.push(entry);
  }
  return entries;
}

/** Entries that share bytes are how a small file unpacks to petabytes without a high ratio in any entry. */
function refuseOverlaps(entries: readonly Entry[]): void {
  const ordered = entries.toSorted((a, b) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader);
  let end = 0;
  for (const entry of ordered) {
    const start = entry.relativeOffsetOfLocalHeader;
    if (start < end) throw unsafe('Its entries overlap.');
    end = start + LOCAL_HEADER_BYTES + entry.fileNameLength + entry.compressedSize;
  }
}

async function extractEntry(zip: ZipFile, entry: Entry, extractor: Extractor): Promise<void> {
  const name = yauzl.getFileNameLowLevel(
    entry.generalPurposeBitFlag,
    entry.fileNameRaw,
    entry.extraFields,
    true,
  );
  const type = (entry.externalFileAttributes >>> 16) & FILE_TYPE;
  if (name.endsWith('/')) {
    if (type !== 0 && type !== FOLDER)
      throw unsafe(`The entry ${quoteName(name)} is not a regular file or folder.`);
    if (entry.uncompressedSize > 0) throw invalid(`The folder ${quoteName(name)} has content.`);
    return extractor.folder(name);
  }
  if (type !== 0 && type !== REGULAR_FILE)
    throw unsafe(`The entry ${quoteName(name)} is not a regular file or folder.`);
  if (entry.isEncrypted())
    throw invalid(`The entry ${quoteName(name)} is encrypted; pack the archive without a password.`);
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
    throw invalid(
      `The entry ${quoteName(name)} is compressed by method ${entry.compressionMethod}; only deflate is read.`,
    );
  }
  await extractor.file(name, contentOf(zip, entry, name));
}

/** Opened only when it is read: a stream that fails while nobody listens would end the process. */
async function* contentOf(zip: ZipFile, entry: Entry, name: string): AsyncGenerator<Buffer> {
  const stored = await zip.openReadStreamPromise(entry, { decodeFileData: false });
  // A destroyed pipeline reports to the loop below too; the callback only keeps the error from being thrown twice.
  const bytes =
    entry.compressionMethod === 8 ? pipeline(stored, createInflateRaw(), () => undefined) : stored;
  let size = 0;
  let sum = 0;
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    size += chunk.length;
    sum = crc32(chunk, sum);
    yield chunk;
  }
  if (size !== entry.uncompressedSize)
    throw invalid(`The entry ${quoteName(name)} is damaged: its size is wrong.`);
  if (sum !== entry.crc32) throw invalid(`The entry ${quoteName(name)} is damaged: its checksum is wrong.`);
}
