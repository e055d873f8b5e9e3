import { arrayTypeOf, type DType, type TensorData } from '#libs/common';
import { floatRow, integerRow, scanArray } from './number-scan.js';
import type { TensorArena } from './tensor-arena.js';

type NumericArray = Exclude<TensorData, string[]>;

/** What whole numbers of each type may be; of 64 bits, those that a double holds. */
const RANGES: Partial<Readonly<Record<DType, readonly [min: number, max: number]>>> = {
  int8: [-(2 ** 7), 2 ** 7 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint8: [0, 2 ** 8 - 1],
  uint16: [0, 2 ** 16 - 1],
  uint32: [0, 2 ** 32 - 1],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

/** The elements of a JSON array, and the position behind it. */
export interface ScannedNumbers {
  readonly data: NumericArray;
  readonly end: number;
}

/**
 * Reads a JSON array of numbers into the elements of a tensor. Only what is common is read: 32-bit floats and whole numbers.
 * @param at the position of its `[`
 * @param count the elements of the shape; not 0
 * @returns `undefined` for anything else, right or wrong
 */
export function scanNumbers(
  bytes: Uint8Array,
  at: number,
  dtype: DType,
  shape: readonly number[],
  count: number,
  arena: TensorArena | undefined,
): ScannedNumbers | undefined {
  if (dtype === 'float32') {
    const data = (arena?.take(dtype, count) ?? new Float32Array(count)) as Float32Array;
    const end = scanArray(bytes, at, shape, count, floatRow(data));
    return end === -1 ? undefined : { data, end };
  }
  const range = RANGES[dtype];
  if (range === undefined || dtype === 'string') return undefined;
  const numbers = new Float64Array(count);
  const end = scanArray(bytes, at, shape, count, integerRow(numbers, ...range));
  if (end === -1) return undefined;
  const data = arena?.take(dtype, count) ?? new (arrayTypeOf(dtype))(count);
  if (dtype === 'int64' || dtype === 'uint64') writeHalves(numbers, data);
  else data.set(numbers as never);
  return { data, end };
}

/** Doubles to 64-bit integers by their halves: a bigint each would cost ten times as much. */
function writeHalves(numbers: Float64Array, { buffer, byteOffset }: NumericArray): void {
  const halves = new Int32Array(buffer, byteOffset, 2 * numbers.length);
  for (let index = 0; index < numbers.length; index++) {
    const value = numbers[index] as number;
    halves[2 * index] = value;
    halves[2 * index + 1] = Math.floor(value / 2 ** 32);
  }
}
