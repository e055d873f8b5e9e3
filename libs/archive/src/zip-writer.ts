import { once } from 'node:events';
import type { FileHandle } from 'node:fs/promises';
import { createDeflateRaw, crc32 } from 'node:zlib';

const VERSION_NEEDED = 20;
const VERSION_NEEDED_ZIP64 = 45;
const MADE_BY_UNIX = 3 << 8;
const UTF8_NAME = 0x0800;
const MAX_16 = 0xffff;
const MAX_32 = 0xffffffff;
const ZIP64_EXTRA = 0x0001;
/** A file that may pass 4 GiB gets room for 64-bit sizes beforehand; deflate can also make it a little longer. */
const ZIP64_FROM_BYTES = 0xf0000000;

interface Written {
  readonly name: Buffer;
  readonly mode: number;
  readonly dosTime: number;
  readonly method: 0 | 8;
  readonly offset: number;
  readonly isZip64: boolean;
  crc: number;
  size: number;
  compressedSize: number;
}

/**
 * Writes a zip file whose local headers hold the sizes and checksum, patched in after the content. Streaming writers put
 * them behind the content instead, which java.util.zip refuses for stored entries: TorchServe could not read `zip-store`
 * archives that were written that way.
 */
export class ZipWriter {
  private readonly written: Written[] = [];
  private position = 0;

  /** @param file open for writing and empty; the caller closes it */
  constructor(
    private readonly file: FileHandle,
    private readonly isCompressed: boolean,
  ) {}

  /**
   * Adds one file.
   * @param sizeHint its expected bytes, to decide on 64-bit sizes
   */
  async add(
    name: string,
    bytes: AsyncIterable<Uint8Array>,
    about: { sizeHint: number; mode: number; modified: Date },
  ): Promise<void> {
    const entry: Written = {
      name: Buffer.from(name),
      mode: about.mode,
      dosTime: dosTime(about.modified),
      method: this.isCompressed ? 8 : 0,
      offset: this.position,
      isZip64: about.sizeHint >= ZIP64_FROM_BYTES,
      crc: 0,
      size: 0,
      compressedSize: 0,
    };
    await this.write(localHeader(entry));
    const start = this.position;
    for await (const chunk of this.isCompressed ? deflated(counted(bytes, entry)) : counted(bytes, entry))
      await this.write(chunk);
    entry.compressedSize = this.position - start;
    const header = localHeader(entry);
    await this.file.write(header, 0, header.length, entry.offset);
    this.written.push(entry);
  }

  /** Writes the directory; nothing may be added afterwards. */
  async end(): Promise<void> {
    const start = this.position;
    for (const entry of this.written) await this.write(directoryHeader(entry));
    await this.write(endOfDirectory(this.written.length, this.position - start, start));
  }

  private async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.file.write(bytes, done, bytes.length - done, this.position);
      done += bytesWritten;
      this.position += bytesWritten;
    }
  }
}

async function* counted(bytes: AsyncIterable<Uint8Array>, entry: Written): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    entry.crc = crc32(chunk, entry.crc);
    entry.size += chunk.byteLength;
    if (entry.size > MAX_32 && !entry.isZip64)
      throw new Error('a file grew beyond 4 GiB while it was packed');
    yield chunk;
  }
}

async function* deflated(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const deflate = createDeflateRaw();
  const feeding = (async () => {
    for await (const chunk of bytes) {
      if (!deflate.write(chunk)) await once(deflate, 'drain');
    }
    deflate.end();
  })().catch((error: unknown) => void deflate.destroy(error as Error));
  for await (const chunk of deflate) yield chunk as Buffer;
  await feeding;
}

function localHeader(entry: Written): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(entry.isZip64 ? VERSION_NEEDED_ZIP64 : VERSION_NEEDED, 4);
  header.writeUInt16LE(flagsOf(entry), 6);
  header.writeUInt16LE(entry.method, 8);
  header.writeUInt32LE(entry.dosTime, 10);
  header.writeUInt32LE(entry.crc, 14);
  header.writeUInt32LE(entry.isZip64 ? MAX_32 : entry.compressedSize, 18);
  header.writeUInt32LE(entry.isZip64 ? MAX_32 : entry.size, 22);
  header.writeUInt16LE(entry.name.length, 26);
  const extra = entry.isZip64 ? zip64Extra([entry.size, entry.compressedSize]) : Buffer.alloc(0);
  header.writeUInt16LE(extra.length, 28);
  return Buffer.concat([header, entry.name, extra]);
}

function directoryHeader(entry: Written): Buffer {
  const large = [entry.size, entry.compressedSize, entry.offset].filter((value) => value >= MAX_32);
  const extra = large.length > 0 ? zip64Extra(large) : Buffer.alloc(0);
  const header = Buffer.alloc(46);
  const version = large.length > 0 || entry.isZip64 ? VERSION_NEEDED_ZIP64 : VERSION_NEEDED;
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(MADE_BY_UNIX | version, 4);
  header.writeUInt16LE(version, 6);
  header.writeUInt16LE(flagsOf(entry), 8);
  header.writeUInt16LE(entry.method, 10);
  header.writeUInt32LE(entry.dosTime, 12);
  header.writeUInt32LE(entry.crc, 16);
  header.writeUInt32LE(Math.min(entry.compressedSize, MAX_32), 20);
  header.writeUInt32LE(Math.min(entry.size, MAX_32), 24);
  header.writeUInt16LE(entry.name.length, 28);
  header.writeUInt16LE(extra.length, 30);
  header.writeUInt32LE((entry.mode << 16) >>> 0, 38);
  header.writeUInt32LE(Math.min(entry.offset, MAX_32), 42);
  return Buffer.concat([header, entry.name, extra]);
}

function endOfDirectory(entries: number, size: number, offset: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(entries, MAX_16), 8);
  end.writeUInt16LE(Math.min(entries, MAX_16), 10);
  end.writeUInt32LE(Math.min(size, MAX_32), 12);
  end.writeUInt32LE(Math.min(offset, MAX_32), 16);
  if (entries < MAX_16 && size < MAX_32 && offset < MAX_32) return end;
  const large = Buffer.alloc(76);
  large.writeUInt32LE(0x06064b50, 0);
  large.writeBigUInt64LE(44n, 4);
  large.writeUInt16LE(MADE_BY_UNIX | VERSION_NEEDED_ZIP64, 12);
  large.writeUInt16LE(VERSION_NEEDED_ZIP64, 14);
  large.writeBigUInt64LE(BigInt(entries), 24);
  large.writeBigUInt64LE(BigInt(entries), 32);
  large.writeBigUInt64LE(BigInt(size), 40);
  large.writeBigUInt64LE(BigInt(offset), 48);
  large.writeUInt32LE(0x07064b50, 56);
  large.writeBigUInt64LE(BigInt(offset + size), 64);
  large.writeUInt32LE(1, 72);
  return Buffer.concat([large, end]);
}

function zip64Extra(values: readonly number[]): Buffer {
  const extra = Buffer.alloc(4 + 8 * values.length);
  extra.writeUInt16LE(ZIP64_EXTRA, 0);
  extra.writeUInt16LE(8 * values.length, 2);
  values.forEach((value, index) => extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index));
  return extra;
}

function flagsOf(entry: Written): number {
  return entry.name.some((byte) => byte > 0x7f) ? UTF8_NAME : 0;
}

// Local time, two-second steps, nothing before 1980: what the format can say.
function dosTime(date: Date): number {
  if (date.getFullYear() < 1980) return (1 << 21) | (1 << 16);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return ((day << 16) | time) >>> 0;
}
