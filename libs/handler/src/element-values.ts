import { MarlineError, arrayTypeOf, elementCount, type DType, type Tensor } from '#libs/common';
import { DATATYPES, invalid, show } from './datatypes.js';
import { FLOAT16_MAX, float16Bits } from './float16.js';
import { rowsOf } from './shape.js';

/**
 * A tensor of plain values, flat or nested as `shape` says; nothing is allocated before the values are known to fill it.
 * @param label what an error calls it
 * @throws MarlineError `INVALID_INPUT`
 */
export function tensorOf(
  dtype: DType,
  shape: readonly number[],
  values: readonly unknown[],
  label: string,
): Tensor {
  const count = countOf(shape, label);
  const rows = rowsOf(values, shape, count, label);
  const { takes, read } = ELEMENTS[dtype];
  const fail = (value: unknown, index: number) =>
    invalid(`${label}: element ${index} is ${show(value)}; ${DATATYPES[dtype]} takes ${takes}.`);
  if (dtype === 'string') {
    const texts = rows.flat();
    const wrong = texts.findIndex((text) => read(text) === undefined);
    if (wrong >= 0) throw fail(texts[wrong], wrong);
    return { dtype, shape, data: texts as string[] };
  }
  const data = new (arrayTypeOf(dtype))(count);
  let index = 0;
  for (const row of rows) {
    for (const value of row) {
      const element = read(value);
      if (element === undefined) throw fail(value, index);
      data[index++] = element as never;
    }
  }
  return { dtype, shape, data };
}

/**
 * The number of elements of a shape.
 * @throws MarlineError `INVALID_INPUT` that names the tensor
 */
export function countOf(shape: readonly number[], label: string): number {
  try {
    return elementCount(shape);
  } catch (error) {
    throw new MarlineError(
      'INVALID_INPUT',
      { reason: `${label}: ${(error as Error).message}` },
      { cause: error },
    );
  }
}

interface ElementKind {
  readonly takes: string;
  /** The element as the typed array takes it; `undefined` when the value is none. */
  readonly read: (value: unknown) => number | bigint | string | undefined;
}

const ELEMENTS: Readonly<Record<DType, ElementKind>> = {
  bool: {
    takes: 'true and false, or 0 and 1',
    read: (value) => (value === true || value === 1 ? 1 : value === false || value === 0 ? 0 : undefined),
  },
  uint8: integers(0, 2 ** 8 - 1),
  uint16: integers(0, 2 ** 16 - 1),
  uint32: integers(0, 2 ** 32 - 1),
  int8: integers(-(2 ** 7), 2 ** 7 - 1),
  int16: integers(-(2 ** 15), 2 ** 15 - 1),
  int32: integers(-(2 ** 31), 2 ** 31 - 1),
  uint64: bigIntegers(0n, 2n ** 64n - 1n),
  int64: bigIntegers(-(2n ** 63n), 2n ** 63n - 1n),
  float16: {
    takes: `finite numbers up to ±${FLOAT16_MAX}`,
    read(value) {
      if (typeof value !== 'number' || !Number.isFinite(value)) return undefined;
      const bits = float16Bits(value);
      return (bits & 0x7c00) === 0x7c00 ? undefined : bits;
    },
  },
  float32: {
    takes: 'finite numbers up to ±3.4028235e38',
    read: (value) => (typeof value === 'number' && Number.isFinite(Math.fround(value)) ? value : undefined),
  },
  float64: {
    takes: 'finite numbers',
    read: (value) => (typeof value === 'number' && Number.isFinite(value) ? value : undefined),
  },
  string: { takes: 'strings', read: (value) => (typeof value === 'string' ? value : undefined) },
};

function integers(min: number, max: number): ElementKind {
  return {
    takes: `whole numbers from ${min} to ${max}`,
    read: (value) =>
      typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
        ? value
        : undefined,
  };
}

function bigIntegers(min: bigint, max: bigint): ElementKind {
  return {
    takes: `whole numbers from ${min} to ${max}, as decimal strings beyond ±${Number.MAX_SAFE_INTEGER}`,
    read(value) {
      const exact =
        typeof value === 'bigint' ||
        Number.isSafeInteger(value) ||
        (typeof value === 'string' && /^-?\d{1,20}$/.test(value));
      if (!exact) return undefined;
      const element = BigInt(value as bigint | number | string);
      return element >= min && element <= max ? element : undefined;
    },
  };
}
