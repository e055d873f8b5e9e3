import { isPooledSize, isTaken, takeBuffer } from './buffer-pool.js';

/** From this size on bytes travel in a buffer of their own: moving one costs no more than copying it three times (measured: from 16 KiB on less). */
const LARGE_BYTES = 16 * 1024;
/** Wide enough for every element type, so that a view can be made at the start of any bytes. */
const ALIGNMENT = 8;
/** Where the values of a packet begin; before them stand the kind, the small bytes and the large ones. */
const FIRST_VALUE = 3;

/** Bytes of a packet: a typed array or a Buffer. */
export type ByteView = Exclude<ArrayBufferView, DataView>;

/** A place in a packet. */
interface PacketMark {
  readonly values: number;
  readonly large: number;
  readonly small: number;
  readonly smallBytes: number;
}

/**
 * One message between a pool and a worker: a flat list of numbers and short texts, which is cloned at a tenth of the cost
 * of nested objects; all small bytes copied together behind it; and large bytes in buffers of their own.
 */
export class PacketWriter {
  /** As they are sent; the first three are {@link PacketWriter.kind} and the places of small and large bytes. */
  readonly values: unknown[];
  /** Views that are sent with their own buffers. */
  readonly large: Uint8Array<ArrayBuffer>[] = [];
  readonly #small: ByteView[] = [];
  #smallBytes = 0;

  constructor(kind: number) {
    this.values = [kind, undefined, undefined];
  }

  get isEmpty(): boolean {
    return this.values.length === FIRST_VALUE;
  }

  /** Length of the small bytes, padding included. */
  get smallBytes(): number {
    return this.#smallBytes;
  }

  /** Writes a text, whatever it is that a handler gave as one: what is none would make the packet unreadable. @throws TypeError for a symbol */
  text(value: unknown): void {
    this.values.push(typeof value === 'string' ? value : String(value));
  }

  /** Writes a number, whatever it is that a handler gave as one. @throws TypeError for a symbol or a bigint */
  number(value: unknown): void {
    this.values.push(typeof value === 'number' ? value : Number(value));
  }

  /**
   * Writes bytes as three values. Large ones are sent with their buffer if they own it, else as a copy.
   * @throws TypeError when the buffer was moved away before
   */
  bytes(view: ByteView): void {
    const { byteLength } = view;
    if (byteLength === 0) {
      // The view of a buffer that was moved away looks empty too; this throws then.
      view.buffer.slice(0, 0);
      this.values.push(0, 0, 0);
    } else if (byteLength < LARGE_BYTES) {
      const offset = this.#smallBytes;
      this.#small.push(view);
      this.#smallBytes = Math.ceil((offset + byteLength) / ALIGNMENT) * ALIGNMENT;
      this.values.push(0, offset, byteLength);
    } else {
      this.large.push(movable(view));
      this.values.push(this.large.length, 0, byteLength);
    }
  }

  /** Where the packet ends now, for {@link PacketWriter.rollBack}. */
  mark(): PacketMark {
    return {
      values: this.values.length,
      large: this.large.length,
      small: this.#small.length,
      smallBytes: this.#smallBytes,
    };
  }

  /** Forgets what was written since. */
  rollBack(mark: PacketMark): void {
    this.values.length = mark.values;
    this.large.length = mark.large;
    this.#small.length = mark.small;
    this.#smallBytes = mark.smallBytes;
  }

  /** Writes a buffer that the other side may use again. False when it is none of the pool's, or leaves with this packet already. */
  give(buffer: ArrayBuffer): boolean {
    if (!isPooledSize(buffer.byteLength) || this.large.some((view) => view.buffer === buffer)) return false;
    this.large.push(new Uint8Array(buffer));
    this.values.push(this.large.length, 0, buffer.byteLength);
    return true;
  }

  /** Copies the small bytes to `offset` of `target`. */
  copySmall(target: Uint8Array, offset: number): void {
    let at = offset;
    for (const view of this.#small) {
      target.set(
        view instanceof Uint8Array ? view : new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
        at,
      );
      at += Math.ceil(view.byteLength / ALIGNMENT) * ALIGNMENT;
    }
  }
}

/** Reads a packet in the order in which it was written. Every method throws a TypeError or RangeError on what is not there. */
export class PacketReader {
  readonly kind: unknown;
  readonly #values: readonly unknown[];
  readonly #small: Uint8Array<ArrayBuffer> | undefined;
  readonly #large: readonly Uint8Array<ArrayBuffer>[];
  #at = FIRST_VALUE;

  /** @param values what was sent, with the bytes at their places */
  constructor(values: readonly unknown[]) {
    this.kind = values[0];
    this.#values = values;
    this.#small = values[1] as Uint8Array<ArrayBuffer> | undefined;
    this.#large = (values[2] as readonly Uint8Array<ArrayBuffer>[] | undefined) ?? [];
  }

  get done(): boolean {
    return this.#at >= this.#values.length;
  }

  number(): number {
    const value = this.#values[this.#at++];
    if (typeof value !== 'number') throw malformed('a number', value);
    return value;
  }

  /** A whole number from 0 up to `limit`. */
  count(limit: number): number {
    const value = this.number();
    if (!(Number.isInteger(value) && value >= 0 && value <= limit)) throw malformed('a count', value);
    return value;
  }

  text(): string {
    const value = this.#values[this.#at++];
    if (typeof value !== 'string') throw malformed('a text', value);
    return value;
  }

  value(): unknown {
    return this.#values[this.#at++];
  }

  /** How many values are left: more of anything cannot be announced. */
  get left(): number {
    return this.#values.length - this.#at;
  }

  /** @param own a buffer of their own is wanted; otherwise that of the packet's small bytes may be behind the view */
  bytes(own: boolean): Uint8Array<ArrayBuffer> {
    const [index, offset, byteLength] = [this.number(), this.number(), this.number()];
    const whole = index === 0 ? (this.#small ?? EMPTY) : this.#large[index - 1];
    if (whole === undefined || !(byteLength <= whole.byteLength)) throw malformed('bytes', index);
    if (index !== 0) return whole.byteLength === byteLength ? whole : whole.subarray(0, byteLength);
    if (byteLength === 0) return new Uint8Array(0);
    const view = new Uint8Array(whole.buffer, whole.byteOffset + offset, byteLength);
    return own ? view.slice() : view;
  }
}

const EMPTY = new Uint8Array(0);

/** The view itself when its buffer holds nothing else, or is one of the pool; otherwise a copy. */
function movable(view: ByteView): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = view;
  const owns = buffer instanceof ArrayBuffer && (byteLength === buffer.byteLength || isTaken(buffer));
  if (owns) return new Uint8Array(buffer, byteOffset, byteLength);
  const copy = new Uint8Array(takeBuffer(byteLength), 0, byteLength);
  copy.set(new Uint8Array(buffer, byteOffset, byteLength));
  return copy;
}

function malformed(wanted: string, found: unknown): TypeError {
  return new TypeError(
    `A message between worker and pool is malformed: ${wanted} expected, ${typeof found} found.`,
  );
}
