import { MarlineError, arrayTypeOf, elementCount, type DType, type Tensor, type Tensors } from '#libs/common';
import { FLOAT16_MAX, float16Bits, float16Value } from './float16.js';
import { rowsOf } from './shape.js';

/** A tensor in the JSON of the open inference protocol. @publicApi */
export interface TensorJson {
  readonly name: string;
  readonly shape: readonly number[];
  /** `FP32`, `INT64`, `BOOL`, `BYTES`, … */
  readonly datatype: string;
  readonly data: readonly unknown[];
}

/** More inputs than any model of ours could want; keeps a hostile request from making millions of tiny tensors. */
const MAX_INPUTS = 1024;
/** ONNX Runtime itself knows no more than eight or so; deeper is a mistake or an attack. */
const MAX_RANK = 32;

/** The protocol's name of each element type. */
const DATATYPES: Readonly<Record<DType, string>> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
  string: 'BYTES',
};

const DTYPES: ReadonlyMap<string, DType> = new Map(
  Object.entries(DATATYPES).map(([dtype, datatype]) => [datatype, dtype as DType]),
);

/**
 * Reads `inputs` of an open inference request. Data is flat or nested as the shape says; 64-bit integers may be decimal
 * strings, which is the only way to write those beyond 2^53; FP16 is written as numbers; numbers are finite.
 * @throws MarlineError `INVALID_INPUT` that names the input and what is wrong with it
 */
export function decodeTensors(inputs: unknown): Tensors {
  if (!Array.isArray(inputs) || inputs.length === 0) {
    throw invalid('"inputs" is a non-empty array of { "name", "shape", "datatype", "data" }.');
  }
  if (inputs.length > MAX_INPUTS)
    throw invalid(`"inputs" has ${inputs.length} entries; at most ${MAX_INPUTS} are allowed.`);
  const tensors = new Map<string, Tensor>();
  for (const [index, input] of (inputs as unknown[]).entries()) {
    if (typeof input !== 'object' || input === null) throw invalid(`inputs[${index}] is not an object.`);
    const { name, shape, datatype, data } = input as Record<string, unknown>;
    if (typeof name !== 'string') throw invalid(`inputs[${index}] has no "name".`);
    const label = `Input ${show(name)}`;
    if (tensors.has(name)) throw invalid(`${label} is given twice.`);
    tensors.set(name, decodeTensor(label, datatype, shape, data));
  }
  // fromEntries defines own properties, so an input called __proto__ is just a name.
  return Object.fromEntries(tensors);
}

function decodeTensor(label: string, datatype: unknown, shape: unknown, data: unknown): Tensor {
  const dtype = typeof datatype === 'string' ? DTYPES.get(datatype) : undefined;
  if (dtype === undefined) {
    throw invalid(
      `${label}: the datatype ${show(datatype)} is unknown; known are ${[...DTYPES.keys()].join(', ')}.`,
    );
  }
  if (
    !Array.isArray(shape) ||
    shape.length > MAX_RANK ||
    !shape.every((dimension) => typeof dimension === 'number')
  ) {
    throw invalid(`${label}: "shape" is an array of at most ${MAX_RANK} whole numbers.`);
  }
  if (!Array.isArray(data)) throw invalid(`${label}: "data" is an array.`);
  return tensorOf(dtype, shape, data as unknown[], label);
}

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
  const rows = rowsOf(values, shape, countOf(shape, label), label);
  const { takes, read } = ELEMENTS[dtype];
  const fail = (value: unknown, index: number) =>
    invalid(`${label}: element ${index} is ${show(value)}; ${DATATYPES[dtype]} takes ${takes}.`);
  if (dtype === 'string') {
    const texts = rows.flat();
    const wrong = texts.findIndex((text) => read(text) === undefined);
    if (wrong >= 0) throw fail(texts[wrong], wrong);
    return { dtype, shape, data: texts as string[] };
  }
  const data = new (arrayTypeOf(dtype))(countOf(shape, label));
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
 * Writes tensors as the protocol does, data flat in row-major order. 64-bit integers are numbers where a double holds
 * them exactly and decimal strings beyond; NaN and infinities, which JSON lacks, become `null` when they are written.
 * @param names the outputs to write, in this order; all by default
 */
export function encodeTensors(
  tensors: Tensors,
  names: readonly string[] = Object.keys(tensors),
): TensorJson[] {
  return names.map((name) => {
    const tensor = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
    if (tensor === undefined) throw invalid(`The model has no output "${name}".`);
    return { name, shape: tensor.shape, datatype: DATATYPES[tensor.dtype], data: plainValues(tensor) };
  });
}

/** The elements as JSON values: booleans, numbers, strings. */
export function plainValues({ dtype, data }: Tensor): (number | string | boolean)[] {
  const elements = Array.from<number | bigint | string>(data);
  if (dtype === 'bool') return elements.map((element) => element !== 0);
  if (dtype === 'float16') return elements.map((bits) => float16Value(Number(bits)));
  if (dtype !== 'int64' && dtype !== 'uint64') return elements as (number | string)[];
  return elements.map((element) =>
    Number.isSafeInteger(Number(element)) ? Number(element) : String(element),
  );
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

function countOf(shape: readonly number[], label: string): number {
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

/** A value as an error text shows it: short, and telling text from numbers. */
function show(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
