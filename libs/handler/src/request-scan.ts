import type { Tensor } from '#libs/common';
import { dtypeOf } from './datatypes.js';
import { skipSpace } from './number-scan.js';
import { scanNumbers } from './scanned-data.js';
import type { TensorArena } from './tensor-arena.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const MAX_RANK = 32;

/** Stands where the `data` of an input was, once its numbers are a tensor. No JSON can make one. */
export class ScannedData {
  constructor(readonly tensor: Tensor) {}
}

interface Found {
  readonly start: number;
  readonly end: number;
  readonly datatype: string;
  readonly tensor: Tensor;
}

/**
 * The JSON of an open inference request, read as `JSON.parse` would, except that `data` of its inputs may be a
 * {@link ScannedData}. The numbers are read from the bytes; `JSON.parse` gets the rest, with a short list in the place of each
 * `data`, and so stays the judge of what is JSON. What is out of the ordinary is parsed as a whole.
 * @throws SyntaxError when the bytes are no JSON
 */
export function parseRequest(bytes: Uint8Array, arena?: TensorArena): unknown {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const mark = arena?.mark ?? 0;
  const found = new RequestScan(bytes, arena).find();
  if (found !== undefined) {
    const value = withTensors(headOf(buffer, found), found);
    if (value !== undefined) return value;
  }
  arena?.rollBack(mark);
  return parseJson(bytes);
}

/**
 * The value of UTF-8 JSON; a byte order mark is no part of it.
 * @throws SyntaxError when the bytes are no JSON
 */
export function parseJson(bytes: Uint8Array): unknown {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return JSON.parse(buffer.toString('utf8', hasByteOrderMark(bytes) ? 3 : 0)) as unknown;
}

/** All of the JSON but the data, with `[0]`, `[1]`, … in its place; `undefined` when it is no JSON. */
function headOf(buffer: Buffer, found: readonly Found[]): unknown {
  let text = '';
  let from = 0;
  for (let index = 0; index < found.length; index++) {
    const { start, end } = found[index] as Found;
    text += `${buffer.toString('utf8', from, start)}[${index}]`;
    from = end;
  }
  try {
    return JSON.parse(text + buffer.toString('utf8', from)) as unknown;
  } catch {
    return undefined;
  }
}

/** Puts the tensors where they were found; `undefined` when the JSON says something else than the scan understood. */
function withTensors(head: unknown, found: readonly Found[]): unknown {
  const inputs = (head as { readonly inputs?: unknown } | undefined)?.inputs;
  if (!Array.isArray(inputs)) return undefined;
  let placed = 0;
  for (const input of inputs as unknown[]) {
    if (typeof input !== 'object' || input === null) return undefined;
    const given = input as { datatype?: unknown; shape?: unknown; data?: unknown };
    if (given.data === undefined) continue;
    if (!Array.isArray(given.data)) return undefined;
    const one = found[given.data[0] as number];
    // A key that comes twice counts with its last value, which need not be the one that was scanned.
    if (one === undefined || given.datatype !== one.datatype || !isSame(given.shape, one.tensor.shape))
      return undefined;
    given.data = new ScannedData(one.tensor);
    placed++;
  }
  return placed === found.length ? head : undefined;
}

function isSame(shape: unknown, scanned: readonly number[]): boolean {
  if (!Array.isArray(shape) || shape.length !== scanned.length) return false;
  for (let axis = 0; axis < scanned.length; axis++) if (shape[axis] !== scanned[axis]) return false;
  return true;
}

function hasByteOrderMark(bytes: Uint8Array): boolean {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
}

/** Finds the data of the inputs. Every step gives the position behind what it read, or -1 when the rest is for `JSON.parse`. */
class RequestScan {
  readonly #found: Found[] = [];
  #datatype = '';
  #shape: number[] | undefined;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly arena: TensorArena | undefined,
  ) {}

  /** `undefined` when there is nothing that could be scanned. */
  find(): readonly Found[] | undefined {
    const start = skipSpace(this.bytes, 0);
    if (this.#object(start, false) === -1 || this.#found.length === 0) return undefined;
    return this.#found;
  }

  #object(at: number, isInput: boolean): number {
    const { bytes } = this;
    if (bytes[at] !== OPEN_OBJECT) return -1;
    let position = skipSpace(bytes, at + 1);
    if (bytes[position] === CLOSE_OBJECT) return position + 1;
    for (;;) {
      const key = position + 1;
      const end = this.#string(position, false);
      if (end === -1) return -1;
      position = skipSpace(bytes, end);
      if (bytes[position] !== COLON) return -1;
      position = skipSpace(bytes, position + 1);
      position = isInput
        ? this.#inputMember(key, end - 1 - key, position)
        : this.#requestMember(key, end - 1 - key, position);
      if (position === -1) return -1;
      position = skipSpace(bytes, position);
      if (bytes[position] === CLOSE_OBJECT) return position + 1;
      if (bytes[position] !== COMMA) return -1;
      position = skipSpace(bytes, position + 1);
    }
  }

  #requestMember(key: number, length: number, at: number): number {
    return this.#isKey(key, length, 'inputs') ? this.#inputs(at) : this.#skip(at);
  }

  #inputs(at: number): number {
    const { bytes } = this;
    if (bytes[at] !== OPEN_ARRAY) return -1;
    let position = skipSpace(bytes, at + 1);
    for (;;) {
      this.#datatype = '';
      this.#shape = undefined;
      position = this.#object(position, true);
      if (position === -1) return -1;
      position = skipSpace(bytes, position);
      if (bytes[position] === CLOSE_ARRAY) return position + 1;
      if (bytes[position] !== COMMA) return -1;
      position = skipSpace(bytes, position + 1);
    }
  }

  #inputMember(key: number, length: number, at: number): number {
    if (this.#isKey(key, length, 'data')) return this.#data(at);
    if (this.#isKey(key, length, 'shape')) return this.#shapeAt(at);
    if (!this.#isKey(key, length, 'datatype')) return this.#skip(at);
    const end = this.#string(at, false);
    if (end !== -1 && end - at < 10)
      this.#datatype = String.fromCharCode(...this.bytes.subarray(at + 1, end - 1));
    return end;
  }

  /** Only once datatype and shape are known: they say what to read the numbers into. */
  #data(at: number): number {
    const { bytes } = this;
    const shape = this.#shape;
    const dtype = dtypeOf(this.#datatype);
    if (bytes[at] !== OPEN_ARRAY || shape === undefined || dtype === undefined) return -1;
    let count = 1;
    for (const dimension of shape) count *= dimension;
    // A number and its comma are two bytes, so nothing is allocated for a shape that the data cannot fill.
    if (count < 1 || 2 * count > bytes.length - at) return -1;
    const scanned = scanNumbers(bytes, at, dtype, shape, count, this.arena);
    if (scanned === undefined) return -1;
    const { data, end } = scanned;
    this.#found.push({ start: at, end, datatype: this.#datatype, tensor: { dtype, shape, data } });
    return end;
  }

  #shapeAt(at: number): number {
    const { bytes } = this;
    const shape: number[] = [];
    if (bytes[at] !== OPEN_ARRAY) return -1;
    let position = skipSpace(bytes, at + 1);
    if (bytes[position] === CLOSE_ARRAY) {
      this.#shape = shape;
      return position + 1;
    }
    while (shape.length < MAX_RANK) {
      const start = position;
      let dimension = 0;
      for (
        let byte = bytes[position] as number;
        byte >= 0x30 && byte <= 0x39;
        byte = bytes[++position] as number
      )
        dimension = dimension * 10 + (byte - 0x30);
      if (position === start || position > start + 9) return -1;
      shape.push(dimension);
      position = skipSpace(bytes, position);
      const byte = bytes[position];
      if (byte === CLOSE_ARRAY) {
        this.#shape = shape;
        return position + 1;
      }
      if (byte !== COMMA) return -1;
      position = skipSpace(bytes, position + 1);
    }
    return -1;
  }

  /** Over a value that does not matter here, whatever it is. */
  #skip(at: number): number {
    const { bytes } = this;
    if (bytes[at] === QUOTE) return this.#string(at, true);
    let depth = 0;
    for (let position = at; position < bytes.length; position++) {
      switch (bytes[position] as number) {
        case QUOTE:
          position = this.#string(position, true) - 1;
          if (position < at) return -1;
          break;
        case OPEN_ARRAY:
        case OPEN_OBJECT:
          depth++;
          break;
        case CLOSE_ARRAY:
        case CLOSE_OBJECT:
          if (depth === 0) return position;
          if (--depth === 0) return position + 1;
          break;
        case COMMA:
          if (depth === 0) return position;
          break;
      }
    }
    return -1;
  }

  #string(at: number, mayEscape: boolean): number {
    const { bytes } = this;
    if (bytes[at] !== QUOTE) return -1;
    for (let position = at + 1; position < bytes.length; position++) {
      const byte = bytes[position];
      if (byte === QUOTE) return position + 1;
      if (byte !== BACKSLASH) continue;
      // An escaped key could be one of those that matter.
      if (!mayEscape) return -1;
      position++;
    }
    return -1;
  }

  #isKey(at: number, length: number, key: string): boolean {
    if (length !== key.length) return false;
    for (let index = 0; index < length; index++)
      if (this.bytes[at + index] !== key.charCodeAt(index)) return false;
    return true;
  }
}
