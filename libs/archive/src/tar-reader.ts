import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { Parser, type ReadEntry } from 'tar';
import { invalid, readFailure, unsafe } from './archive-errors.js';
import type { ArchiveLimits } from './archive-limits.js';
import { quoteName } from './entry-names.js';
import { exceedsRatio, type Extractor } from './extractor.js';

/** A long path or the extended attributes of one entry; archivers write a few hundred bytes. */
const LONGEST_META_BYTES = 64 * 1024;
const GZIP_MAGIC = 0x1f8b;

/**
 * Unpacks a gzip-compressed tar file; the first part of every path is dropped, as TorchServe does.
 * @throws MarlineError `ARCHIVE_INVALID` when it is damaged or no gzip tar; `ARCHIVE_UNSAFE` for links, devices and all
 * that the extractor refuses
 */
export async function extractTar(
  path: string,
  archiveBytes: number,
  extractor: Extractor,
  limits: ArchiveLimits,
): Promise<void> {
  const parser = new Parser({ strict: true, zstd: false, maxMetaEntrySize: LONGEST_META_BYTES });
  const entries = new TarEntries(parser, extractor);
  const finished = once(parser, 'end');
  // It is awaited only after the last write; a parser that fails before must not end the process.
  finished.catch(() => undefined);
  // The loop below meets every error of both streams; the callback only keeps them from being thrown twice.
  const inflated = pipeline(createReadStream(path), createGunzip(), () => undefined);
  try {
    for await (const chunk of plainTar(inflated, archiveBytes, limits)) {
      if (!parser.write(chunk)) await entries.orFailure(once(parser, 'drain'));
    }
    parser.end();
    await entries.orFailure(finished);
    await entries.written();
  } catch (error) {
    await entries.abandon();
    throw readFailure(error, 'gzip tar file');
  }
}

/** Writes the entries of a parser one after the other while it parses on. */
class TarEntries {
  private readonly failure: Promise<never>;
  private last: Promise<void> = Promise.resolve();
  private current?: ReadEntry;
  private isAbandoned = false;

  constructor(
    parser: Parser,
    private readonly extractor: Extractor,
  ) {
    let fail: (error: unknown) => void = () => undefined;
    this.failure = new Promise<never>((_, reject) => {
      fail = reject;
    });
    this.failure.catch(() => undefined);
    parser.on('error', fail);
    parser.on('ignoredEntry', (entry: ReadEntry) =>
      fail(unsafe(`The entry ${quoteName(entry.path)} is neither a file nor a folder.`)),
    );
    parser.on('entry', (entry: ReadEntry) => {
      this.last = this.last.then(() => this.extract(entry));
      this.last.catch(fail);
    });
  }

  /** Waits for the parser, but not longer than until something failed. */
  async orFailure(parser: Promise<unknown>): Promise<void> {
    await Promise.race([parser, this.failure]);
  }

  /** Resolves when every entry that was parsed is written; rejects with the first refusal. */
  written(): Promise<void> {
    return this.last;
  }

  /** Ends the entry that still waits for bytes, so that its file is closed before the caller removes it. */
  async abandon(): Promise<void> {
    this.isAbandoned = true;
    this.current?.destroy(new Error('the archive was given up'));
    await this.last.catch(() => undefined);
  }

  private async extract(entry: ReadEntry): Promise<void> {
    if (this.isAbandoned) return;
    this.current = entry;
    // An entry given up after its last byte has no reader left to tell.
    entry.on('error', () => undefined);
    const name = withoutFirstPart(entry.path);
    switch (entry.type) {
      case 'File':
      case 'OldFile':
      case 'ContiguousFile':
        return this.extractor.file(name, entry as AsyncIterable<Buffer>);
      case 'Directory':
        entry.resume();
        return this.extractor.folder(name);
      default:
        throw unsafe(
          `The entry ${quoteName(entry.path)} is neither a file nor a folder but a ${entry.type}.`,
        );
    }
  }
}

/** Counts headers and padding too, which the extractor does not see, and stops a tar that is compressed twice. */
async function* plainTar(
  inflated: AsyncIterable<Buffer>,
  archiveBytes: number,
  limits: ArchiveLimits,
): AsyncGenerator<Buffer> {
  const mostBytes = limits.totalBytes + limits.entries * 2 * LONGEST_META_BYTES;
  let bytes = 0;
  let head = Buffer.alloc(0);
  for await (const chunk of inflated) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw unsafe(`It unpacks to more than ${mostBytes} bytes.`);
    if (exceedsRatio(bytes, archiveBytes, limits))
      throw unsafe(`It unpacks to more than ${limits.ratio} times its size.`);
    if (head.length < 2) {
      head = Buffer.concat([head, chunk.subarray(0, 2)]);
      if (head.length >= 2 && head.readUInt16BE(0) === GZIP_MAGIC) throw invalid('It is compressed twice.');
    }
    yield chunk;
  }
}

// Dropping the first part of `../x` or `/x` would make it harmless, but no archiver writes such names: they are shown whole and refused.
function withoutFirstPart(path: string): string {
  if (path.startsWith('/') || path.startsWith('../')) return path;
  const slash = path.indexOf('/');
  return slash === -1 ? path : path.slice(slash + 1);
}
