import { deserialize, serialize } from 'node:v8';
import { PacketReader, type PacketWriter } from './packet.js';

/*
 * A packet as bytes, all lengths as 4 bytes with the lowest first: length of the values, of the small bytes, number of large ones;
 * the length of each large one; the values as V8 serialises them; the small bytes; the large ones.
 */

const PREFIX_BYTES = 12;
const LENGTH_BYTES = 4;
/** What is read at once while nothing large is on its way. */
const READ_BYTES = 64 * 1024;
/** Of a packet without its large bytes. */
const MAX_HEAD_BYTES = 64 * 1024 * 1024;
/** Of all large bytes of a packet: what one tensor may have at most. */
const MAX_LARGE_BYTES = 2 ** 30;

/** Large bytes of one packet: more than a batch has inputs. */
const MAX_LARGE = 65_536;

/**
 * The packet as the pieces to write; the first is new, the others are the packet's large bytes themselves.
 * @throws DataCloneError when a value cannot be cloned
 * @throws RangeError when it is more than the other side takes
 */
export function toFrame(packet: PacketWriter): [head: Uint8Array, ...large: Uint8Array[]] {
  const { large, smallBytes } = packet;
  const values = serialize(packet.values);
  const valuesAt = PREFIX_BYTES + LENGTH_BYTES * large.length;
  const head = Buffer.allocUnsafe(valuesAt + values.byteLength + smallBytes);
  head.writeUInt32LE(values.byteLength, 0);
  head.writeUInt32LE(smallBytes, 4);
  head.writeUInt32LE(large.length, 8);
  let largeBytes = 0;
  for (const [index, { byteLength }] of large.entries()) {
    largeBytes += byteLength;
    head.writeUInt32LE(byteLength, PREFIX_BYTES + LENGTH_BYTES * index);
  }
  if (head.byteLength > MAX_HEAD_BYTES || largeBytes > MAX_LARGE_BYTES || large.length > MAX_LARGE) {
    throw new RangeError(
      `${head.byteLength + largeBytes} bytes are more than a worker process takes at once: ` +
        `${MAX_LARGE_BYTES} in large parts and ${MAX_HEAD_BYTES} in all others.`,
    );
  }
  head.set(values, valuesAt);
  packet.copySmall(head, valuesAt + values.byteLength);
  return [head, ...large];
}

/**
 * Puts packets together from a stream of bytes. Large bytes can be read straight to where they stay: read into
 * {@link FrameReader.target}, then tell how much with {@link FrameReader.filled}. Or give it what was read elsewhere.
 */
export class FrameReader {
  readonly #receive: (packet: PacketReader) => void;
  readonly #allocate: (byteLength: number) => ArrayBuffer;
  /** Bytes of heads: those before `#from` are done, those from `#to` on are free. */
  #head = Buffer.allocUnsafeSlow(READ_BYTES);
  #from = 0;
  #to = 0;
  /** The packet whose large bytes are on their way. */
  #values: unknown[] | undefined;
  #large: Uint8Array<ArrayBuffer>[] = [];
  /** Which of them comes, and how much of it is there. */
  #index = 0;
  #largeFilled = 0;

  /**
   * @param receive is called with every packet, in order
   * @param allocate makes the buffers of large bytes
   */
  constructor(receive: (packet: PacketReader) => void, allocate: (byteLength: number) => ArrayBuffer) {
    this.#receive = receive;
    this.#allocate = allocate;
  }

  /** Where the next bytes belong; at least one fits. */
  target(): Uint8Array {
    const current = this.#values && this.#large[this.#index];
    return current === undefined ? this.#head.subarray(this.#to) : current.subarray(this.#largeFilled);
  }

  /**
   * The first `count` bytes of the target were read.
   * @throws RangeError when the other side announces more than is allowed; Error when values cannot be read
   */
  filled(count: number): void {
    if (this.#values === undefined) {
      this.#to += count;
      this.#readHeads();
    } else {
      this.#largeFilled += count;
      this.#readLarge();
    }
  }

  /** Bytes that were read elsewhere. @throws as {@link FrameReader.filled} */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.byteLength;) {
      const target = this.target();
      const count = Math.min(target.byteLength, chunk.byteLength - at);
      target.set(chunk.subarray(at, at + count));
      at += count;
      this.filled(count);
    }
  }

  #readHeads(): void {
    while (this.#values === undefined && this.#readHead());
    if (this.#from < this.#to) return;
    this.#from = this.#to = 0;
    if (this.#head.byteLength > READ_BYTES) this.#head = Buffer.allocUnsafeSlow(READ_BYTES);
  }

  /** True when a packet's head was there as a whole. */
  #readHead(): boolean {
    const available = this.#to - this.#from;
    if (available < PREFIX_BYTES) return this.#wait(PREFIX_BYTES);
    const head = this.#head;
    const valueBytes = head.readUInt32LE(this.#from);
    const smallBytes = head.readUInt32LE(this.#from + 4);
    const largeCount = head.readUInt32LE(this.#from + 8);
    const lengths = this.#from + PREFIX_BYTES;
    const length = PREFIX_BYTES + LENGTH_BYTES * largeCount + valueBytes + smallBytes;
    if (largeCount > MAX_LARGE) throw new RangeError('A message between worker and pool has too many parts.');
    if (length > MAX_HEAD_BYTES) throw tooMuch(length, MAX_HEAD_BYTES);
    if (available < length) return this.#wait(length);

    const valuesAt = lengths + LENGTH_BYTES * largeCount;
    const smallAt = valuesAt + valueBytes;
    const values: unknown = deserialize(head.subarray(valuesAt, smallAt));
    if (!Array.isArray(values)) throw new TypeError('A message between worker and pool holds no values.');
    // A copy that starts a buffer of its own: typed arrays need their alignment.
    values[1] = new Uint8Array(head.subarray(smallAt, smallAt + smallBytes));
    this.#large = this.#makeLarge(lengths, largeCount);
    values[2] = this.#large;
    this.#from += length;
    this.#values = values;
    this.#index = 0;
    this.#largeFilled = 0;
    this.#takeFromHead();
    return true;
  }

  #makeLarge(lengthsAt: number, count: number): Uint8Array<ArrayBuffer>[] {
    const lengths = Array.from({ length: count }, (_, index) =>
      this.#head.readUInt32LE(lengthsAt + LENGTH_BYTES * index),
    );
    const bytes = lengths.reduce((sum, length) => sum + length, 0);
    if (bytes > MAX_LARGE_BYTES) throw tooMuch(bytes, MAX_LARGE_BYTES);
    if (lengths.includes(0)) throw new RangeError('A message between worker and pool announces empty bytes.');
    return lengths.map((length) => new Uint8Array(this.#allocate(length), 0, length));
  }

  /** Large bytes that came with the head. */
  #takeFromHead(): void {
    while (this.#values !== undefined) {
      const rest = this.#large[this.#index]?.subarray(this.#largeFilled);
      const count = Math.min(rest?.byteLength ?? 0, this.#to - this.#from);
      rest?.set(this.#head.subarray(this.#from, this.#from + count));
      this.#from += count;
      this.#largeFilled += count;
      this.#readLarge();
      if (this.#from === this.#to) return;
    }
  }

  #readLarge(): void {
    const current = this.#large[this.#index];
    if (current !== undefined && this.#largeFilled < current.byteLength) return;
    this.#index += 1;
    this.#largeFilled = 0;
    const values = this.#values;
    if (this.#index < this.#large.length || values === undefined) return;
    this.#values = undefined;
    this.#large = [];
    this.#receive(new PacketReader(values));
  }

  /** Makes room for a head of `length` bytes, and lets the rest of it come. */
  #wait(length: number): false {
    const [from, to] = [this.#from, this.#to];
    if (from + length > this.#head.byteLength) {
      const head = length > this.#head.byteLength ? Buffer.allocUnsafeSlow(length) : this.#head;
      this.#head.copy(head, 0, from, to);
      this.#head = head;
      this.#from = 0;
      this.#to = to - from;
    }
    return false;
  }
}

function tooMuch(bytes: number, limit: number): RangeError {
  return new RangeError(`A message between worker and pool announces ${bytes} bytes; ${limit} are allowed.`);
}
