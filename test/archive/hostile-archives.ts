import { crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { Header, Pax } from 'tar';

/** One zip entry, told to be whatever an attack needs; what is left out is correct. */
export interface ZipPart {
  readonly name: string | Buffer;
  readonly data?: Buffer | string;
  readonly isStored?: boolean;
  readonly method?: number;
  readonly flags?: number;
  /** Unix mode with its type bits. */
  readonly mode?: number;
  readonly declaredSize?: number;
  readonly declaredCompressedSize?: number;
  readonly crc?: number;
  /** Points the directory at another entry's local header. */
  readonly offsetOf?: number;
  readonly extra?: Buffer;
}

/** A zip file, byte by byte: writers refuse to write the archives that readers have to refuse. */
export function zipOf(parts: readonly ZipPart[], entryCount = parts.length): Buffer {
  const locals: Buffer[] = [];
  const offsets: number[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const part of parts) {
    const { local, header } = encode(part);
    offsets.push(offset);
    if (part.offsetOf === undefined) {
      locals.push(local);
      header.writeUInt32LE(offset, 42);
      offset += local.length;
    } else {
      header.writeUInt32LE(offsets[part.offsetOf] ?? 0, 42);
    }
    directory.push(header);
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entryCount, 8);
  end.writeUInt16LE(entryCount, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, central, end]);
}

function encode(part: ZipPart): { local: Buffer; header: Buffer } {
  const name = Buffer.from(part.name);
  const data = Buffer.from(part.data ?? '');
  const content = part.isStored === true ? data : deflateRawSync(data, { level: 9 });
  const method = part.method ?? (part.isStored === true ? 0 : 8);
  const extra = part.extra ?? Buffer.alloc(0);
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(20, 0);
  fields.writeUInt16LE(part.flags ?? 0, 2);
  fields.writeUInt16LE(method, 4);
  fields.writeUInt32LE(part.crc ?? crc32(data), 10);
  fields.writeUInt32LE(part.declaredCompressedSize ?? content.length, 14);
  fields.writeUInt32LE(part.declaredSize ?? data.length, 18);
  fields.writeUInt16LE(name.length, 22);
  fields.writeUInt16LE(extra.length, 24);
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE((3 << 8) | 20, 4);
  fields.copy(header, 6);
  header.writeUInt32LE(((part.mode ?? 0o100644) << 16) >>> 0, 38);
  return {
    local: Buffer.concat([Buffer.from('PK\x03\x04'), fields, name, extra, content]),
    header: Buffer.concat([header, name, extra]),
  };
}

/** One tar entry. `size` may lie about the data. */
export interface TarPart {
  readonly name: string;
  readonly data?: Buffer | string;
  readonly type?: ConstructorParameters<typeof Header>[0] extends infer D
    ? D extends { type?: infer T }
      ? T
      : never
    : never;
  readonly link?: string;
  readonly size?: number;
  readonly isPax?: boolean;
}

/** A tar file, not compressed. */
export function tarOf(parts: readonly TarPart[]): Buffer {
  const blocks = parts.flatMap(({ name, data, type, link, size, isPax }) => {
    const content = Buffer.from(data ?? '');
    const header = new Header({
      path: isPax === true ? 'PaxHeader' : name,
      mode: 0o644,
      size: size ?? content.length,
      type: type ?? 'File',
      linkpath: link,
      mtime: new Date(0),
    });
    const block = Buffer.alloc(512);
    header.encode(block);
    const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
    return [...(isPax === true ? [new Pax({ path: name }).encode()] : []), block, content, padding];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** The same, gzipped. */
export function tgzOf(parts: readonly TarPart[]): Buffer {
  return gzipSync(tarOf(parts));
}
