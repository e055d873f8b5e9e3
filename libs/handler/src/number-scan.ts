/**
 * Numbers of JSON, read from bytes straight into a typed array: `JSON.parse` would make a boxed array of them first, at two to
 * four times the cost. Whatever is not plain is left alone (-1), and `JSON.parse` then decides what it is worth.
 */

/** Reads `count` numbers and the `]` behind them. Gives the position behind that, or -1. */
export type ScanRow = (bytes: Uint8Array, at: number, from: number, count: number) => number;

/** 10^0 to 10^308, each the double nearest to it; exact up to 10^22. */
const POWERS = Float64Array.from({ length: 309 }, (_, exponent) => Number(`1e${exponent}`));
/** Beyond it a quotient or product could leave the doubles that have all their digits. */
const MAX_POWER = 290;

/**
 * Reads numbers into `out` exactly as `JSON.parse` and the conversion to 32 bits would. Up to 15 digits and 22 powers of ten
 * one operation on exact doubles is correctly rounded. For more, the digits cut off leave the value between two bounds, and
 * where both round to the same 32 bits those are the answer; where they do not, `Number` reads the text.
 */
export function floatRow(out: Float32Array): ScanRow {
  return (bytes, at, from, count) => {
    const powers = POWERS;
    const numbers = out;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const lastWord = bytes.byteLength - 4;
    let position = at;
    for (let index = from, last = from + count - 1; ; index++) {
      position = skipSpace(bytes, position);
      const negative = bytes[position] === 0x2d;
      if (negative) position++;
      const start = position;
      let byte = bytes[position] as number;
      let value = 0;
      let digits = 0;
      let cut = 0;
      let exponent = 0;
      if (byte === 0x30) byte = bytes[++position] as number;
      else {
        if (!isDigit(byte)) return -1;
        do {
          if (digits < 15) {
            value = value * 10 + (byte - 0x30);
            digits++;
          } else cut++;
          byte = bytes[++position] as number;
        } while (isDigit(byte));
        exponent = cut;
      }
      if (byte === 0x2e) {
        byte = bytes[++position] as number;
        if (!isDigit(byte)) return -1;
        if (digits > 0 || byte !== 0x30) {
          // Four digits at once, where so many stand side by side.
          for (; digits <= 11 && position <= lastWord; digits += 4, position += 4, exponent -= 4) {
            const word = view.getInt32(position, true);
            if ((word & (word + 0x06060606) & 0xf0f0f0f0) !== 0x30303030) break;
            const units = word & 0x0f0f0f0f;
            const pairs = (units * 10 + (units >>> 8)) & 0x00ff00ff;
            value = value * 10_000 + ((pairs & 0xff) * 100 + (pairs >>> 16));
          }
          byte = bytes[position] as number;
        }
        while (isDigit(byte)) {
          if (digits < 15) {
            value = value * 10 + (byte - 0x30);
            // Zeros in front of the first digit are none.
            if (value !== 0) digits++;
            exponent--;
          } else cut++;
          byte = bytes[++position] as number;
        }
      }
      if ((byte | 0x20) === 0x65) {
        byte = bytes[++position] as number;
        const isSmall = byte === 0x2d;
        if (isSmall || byte === 0x2b) byte = bytes[++position] as number;
        if (!isDigit(byte)) return -1;
        let given = 0;
        do {
          if (given < 100_000) given = given * 10 + (byte - 0x30);
          byte = bytes[++position] as number;
        } while (isDigit(byte));
        exponent += isSmall ? -given : given;
      }
      if (value !== 0 && (exponent !== 0 || cut !== 0)) {
        const isExact = cut === 0 && exponent >= -22 && exponent <= 22;
        if (exponent < -MAX_POWER || exponent > MAX_POWER) value = numberAt(bytes, start, position);
        else {
          value = exponent < 0 ? value / (powers[-exponent] as number) : value * (powers[exponent] as number);
          // Two roundings lie below the value; as much, and the digits cut off (less than one of the fifteenth), above it.
          if (!isExact && Math.fround(value * (1 - 4e-16)) !== Math.fround(value * (1 + 2e-14)))
            value = numberAt(bytes, start, position);
        }
      }
      // Neither infinity nor what 32 bits cannot hold.
      if (!Number.isFinite(Math.fround(value))) return -1;
      numbers[index] = negative ? -value : value;
      position = skipSpace(bytes, position);
      byte = bytes[position] as number;
      position++;
      if (index === last) return byte === 0x5d ? position : -1;
      if (byte !== 0x2c) return -1;
    }
  };
}

/** Reads whole numbers of at most 15 digits between `min` and `max` into `out`. A fraction or a power is no plain one, though it may be whole. */
export function integerRow(out: Float64Array, min: number, max: number): ScanRow {
  return (bytes, at, from, count) => {
    let position = at;
    for (let index = from, last = from + count - 1; ; index++) {
      position = skipSpace(bytes, position);
      const negative = bytes[position] === 0x2d;
      if (negative) position++;
      let byte = bytes[position] as number;
      let value = 0;
      if (byte === 0x30) byte = bytes[++position] as number;
      else {
        if (!isDigit(byte)) return -1;
        const end = position + 15;
        for (; isDigit(byte) && position < end; byte = bytes[++position] as number)
          value = value * 10 + byte - 0x30;
      }
      if (negative) value = -value;
      if (value < min || value > max) return -1;
      out[index] = value;
      position = skipSpace(bytes, position);
      byte = bytes[position] as number;
      position++;
      if (index === last) return byte === 0x5d ? position : -1;
      if (byte !== 0x2c) return -1;
    }
  };
}

/**
 * Reads an array that is flat or nested as `shape` says.
 * @param at the position of its `[`
 * @param count the elements of the shape; not 0
 * @returns the position behind its `]`, or -1
 */
export function scanArray(
  bytes: Uint8Array,
  at: number,
  shape: readonly number[],
  count: number,
  row: ScanRow,
): number {
  const isNested = shape.length > 1 && bytes[skipSpace(bytes, at + 1)] === 0x5b;
  return isNested ? scanLevel(bytes, at + 1, shape, 0, { from: 0 }, row) : row(bytes, at + 1, 0, count);
}

/** The position of the next byte that is no white space. */
export function skipSpace(bytes: Uint8Array, at: number): number {
  let position = at;
  for (let byte = bytes[position]; ; byte = bytes[++position]) {
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return position;
  }
}

function scanLevel(
  bytes: Uint8Array,
  at: number,
  shape: readonly number[],
  level: number,
  filled: { from: number },
  row: ScanRow,
): number {
  const length = shape[level] ?? 0;
  if (level === shape.length - 1) {
    const end = row(bytes, at, filled.from, length);
    filled.from += length;
    return end;
  }
  let position = at;
  for (let index = 0; index < length; index++) {
    position = skipSpace(bytes, position);
    if (bytes[position] !== 0x5b) return -1;
    position = scanLevel(bytes, position + 1, shape, level + 1, filled, row);
    if (position === -1) return -1;
    position = skipSpace(bytes, position);
    if (bytes[position] !== (index === length - 1 ? 0x5d : 0x2c)) return -1;
    position++;
  }
  return position;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function numberAt(bytes: Uint8Array, start: number, end: number): number {
  return Number(String.fromCharCode(...bytes.subarray(start, end)));
}
