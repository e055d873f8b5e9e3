import { MarlineError } from './errors.js';

/** ONNX Runtime's names of the element types that Marline carries. */
export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int8'
  | 'uint8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'bool'
  | 'string';

/** Elements of a tensor: `float16` as its 16 raw bits, `bool` as 0 and 1, 64-bit integers as bigint. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | string[];

/**
 * A dense tensor in row-major order. `data` has exactly as many elements as `shape` says.
 * The one who receives a tensor owns its buffer and may transfer it to another thread.
 * @publicApi
 */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** Tensors by the name of the model's input or output. @publicApi */
export type Tensors = Readonly<Record<string, Tensor>>;

/** Name, element type and shape of a model's input or output; a string in the shape is a symbolic (free) dimension. */
export interface TensorMetadata {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly (number | string)[];
}

/** Largest number of elements that Marline allocates for one tensor: 2^28 (1 GiB of float32). */
export const MAX_ELEMENTS = 2 ** 28;

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

/** The typed array that holds elements of `dtype`; strings have none. */
export function arrayTypeOf<D extends Exclude<DType, 'string'>>(dtype: D): (typeof ARRAYS)[D] {
  return ARRAYS[dtype];
}

export function isDType(text: string): text is DType {
  return text === 'string' || text in ARRAYS;
}

/**
 * The number of elements of a shape.
 * @throws MarlineError `INVALID_INPUT` when a dimension is no whole number ≥ 0 or the product exceeds {@link MAX_ELEMENTS}
 */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 0) {
      throw new MarlineError('INVALID_INPUT', {
        reason: `Shape [${shape}] has the dimension ${dimension}; a dimension is a whole number from 0 up.`,
      });
    }
    count *= dimension;
  }
  // Also not for NaN, which 0 times infinity is.
  if (count <= MAX_ELEMENTS) return count;
  const exact = shape.reduce((product, dimension) => product * BigInt(dimension), 1n);
  if (exact <= BigInt(MAX_ELEMENTS)) return Number(exact);
  throw new MarlineError('INVALID_INPUT', {
    reason: `Shape [${shape}] has ${exact} elements; at most ${MAX_ELEMENTS} are allowed.`,
  });
}

/**
 * A tensor from data that fits it.
 * @example tensor('float32', new Float32Array([1, 2]), [1, 2])
 * @throws MarlineError `INVALID_INPUT` when data and shape disagree or the array is not the one of `dtype`
 * @publicApi
 */
export function tensor(dtype: DType, data: TensorData, shape: readonly number[]): Tensor {
  const fits = dtype === 'string' ? Array.isArray(data) : data instanceof ARRAYS[dtype];
  if (!fits) {
    const expected = dtype === 'string' ? 'string[]' : ARRAYS[dtype].name;
    throw new MarlineError('INVALID_INPUT', { reason: `A ${dtype} tensor needs its data as ${expected}.` });
  }
  const expected = elementCount(shape);
  if (data.length !== expected) {
    throw new MarlineError('INVALID_INPUT', {
      reason: `Shape [${shape}] needs ${expected} elements, the data has ${data.length}.`,
    });
  }
  return { dtype, data, shape };
}

/** True for a record of tensors, as told by the shape of its values. */
export function isTensors(value: unknown): value is Tensors {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Array.isArray(value))
    return false;
  const values = Object.values(value);
  return values.length > 0 && values.every(isTensor);
}

function isTensor(value: unknown): value is Tensor {
  if (typeof value !== 'object' || value === null) return false;
  const { dtype, shape, data } = value as Partial<Tensor>;
  return (
    typeof dtype === 'string' &&
    isDType(dtype) &&
    Array.isArray(shape) &&
    (ArrayBuffer.isView(data) || Array.isArray(data))
  );
}
