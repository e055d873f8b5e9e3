import { readSync } from 'node:fs';

/** One field of a protobuf message in a file and where its bytes lie. */
export interface ProtobufField {
  readonly number: number;
  /** True for bytes, strings and messages; false for numbers. */
  readonly isBytes: boolean;
  readonly start: number;
  readonly end: number;
}

const CHUNK_BYTES = 64 * 1024;
const MAX_VARINT_BYTES = 10;

/** Thrown for bytes that are no protobuf message. */
export class ProtobufError extends Error {}

/**
 * Walks over the fields of protobuf messages in a file without reading what it steps over, so that gigabytes of weights
 * cost a few reads. Synchronous: made for a process of its own.
 */
export class ProtobufReader {
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #chunkStart = 0;
  #chunkEnd = 0;
  /** Where the varint that was read last ended. */
  #position = 0;

  /** @param fd an open file; stays the caller's */
  constructor(private readonly fd: number) {}

  /**
   * The fields between two offsets of the file, in order.
   * @throws ProtobufError when they are no message, or lead beyond `end`
   */
  *fields(start: number, end: number): Generator<ProtobufField, void, undefined> {
    for (let position = start; position < end;) {
      const tag = this.#varint(position, end);
      const number = Math.floor(tag / 8);
      const wireType = tag % 8;
      const from =
        wireType === 2
          ? this.#lengthAt(this.#position, end)
          : { start: this.#position, bytes: this.#sizeOf(wireType, end) };
      position = from.start + from.bytes;
      if (number === 0 || position > end) throw new ProtobufError('a field leads beyond its end');
      yield { number, isBytes: wireType === 2, start: from.start, end: position };
    }
  }

  /** The text of a string field. @throws ProtobufError above `maxBytes` */
  text({ start, end }: ProtobufField, maxBytes: number): string {
    if (end - start > maxBytes) throw new ProtobufError('a text in it is too long');
    const bytes = Buffer.alloc(end - start);
    for (let index = 0; index < bytes.length; index++) bytes[index] = this.#byte(start + index);
    return bytes.toString('utf8');
  }

  #lengthAt(position: number, end: number): { start: number; bytes: number } {
    const bytes = this.#varint(position, end);
    return { start: this.#position, bytes };
  }

  #sizeOf(wireType: number, end: number): number {
    const start = this.#position;
    switch (wireType) {
      case 0:
        this.#varint(start, end);
        return this.#position - start;
      case 1:
        return 8;
      case 5:
        return 4;
      default:
        throw new ProtobufError('it holds a field of an unknown kind');
    }
  }

  /** Loses precision above 2^53, where no length of a file can be. */
  #varint(start: number, end: number): number {
    let value = 0;
    for (let index = 0; index < MAX_VARINT_BYTES && start + index < end; index++) {
      const byte = this.#byte(start + index);
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) {
        this.#position = start + index + 1;
        return value;
      }
    }
    throw new ProtobufError('it ends within a number');
  }

  #byte(position: number): number {
    if (position < this.#chunkStart || position >= this.#chunkEnd) {
      this.#chunkStart = position;
      this.#chunkEnd = position + readSync(this.fd, this.#chunk, 0, CHUNK_BYTES, position);
    }
    const byte = this.#chunk[position - this.#chunkStart];
    if (byte === undefined || position >= this.#chunkEnd)
      throw new ProtobufError('the file is shorter than it says');
    return byte;
  }
}
