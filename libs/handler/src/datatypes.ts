import { MarlineError, type DType } from '#libs/common';

/** The open inference protocol's name of each element type. */
export const DATATYPES: Readonly<Record<DType, string>> = {
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

const DTYPES: ReadonlyMap<unknown, DType> = new Map(
  Object.entries(DATATYPES).map(([dtype, datatype]) => [datatype, dtype as DType]),
);

/** The element type of a protocol's name; `undefined` for names that are none. */
export function dtypeOf(datatype: unknown): DType | undefined {
  return DTYPES.get(datatype);
}

/** The names of the element types, for error texts. */
export function knownDatatypes(): string {
  return [...DTYPES.keys()].join(', ');
}

/** A value as an error text shows it: short, and telling text from numbers. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
}

/** The error of a request whose tensors are wrong. */
export function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
