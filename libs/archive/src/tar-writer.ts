import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { Header, Pax } from 'tar';

const BLOCK_BYTES = 512;

/** One file of a tar archive. */
export interface TarFile {
  readonly name: string;
  readonly size: number;
  readonly mode: number;
  readonly modified: Date;
  readonly bytes: () => AsyncIterable<Uint8Array>;
}

/** Writes a gzip-compressed tar of regular files, in their order; the caller closes `file`. */
export async function writeTar(file: FileHandle, files: readonly TarFile[]): Promise<void> {
  await pipeline(Readable.from(blocks(files)), createGzip(), async (compressed: AsyncIterable<Buffer>) => {
    for await (const chunk of compressed) await file.writeFile(chunk);
  });
}

async function* blocks(files: readonly TarFile[]): AsyncGenerator<Uint8Array> {
  for (const { name, size, mode, modified, bytes } of files) {
    const about = {
      path: name,
      size,
      mode: mode & 0o777,
      mtime: modified,
      uid: 0,
      gid: 0,
      uname: 'root',
      gname: 'root',
    };
    const header = new Header({ ...about, type: 'File' });
    const block = Buffer.alloc(BLOCK_BYTES);
    if (header.encode(block)) yield new Pax({ path: name, size }).encode();
    yield block;
    let written = 0;
    for await (const chunk of bytes()) {
      written += chunk.byteLength;
      yield chunk;
    }
    if (written !== size) throw new Error(`${name} changed while it was packed`);
    yield Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}
