import {
  MarlineError,
  arrayTypeOf,
  elementCount,
  type DType,
  type Tensor,
  type TensorData,
  type TensorMetadata,
  type Tensors,
} from '#libs/common';
import { ownTensors } from './run-part.js';
import { isFree, shapeText } from './shape.js';
import type { TensorArena } from './tensor-arena.js';

type NumericArray = Exclude<TensorData, string[]>;

/** True when the model lets its first dimension grow for every input: only then can items share a run. */
export function isStackable(inputs: readonly TensorMetadata[]): boolean {
  return inputs.length > 0 && inputs.every((input) => isFree(input.shape[0]));
}

/**
 * True when two items that fit the model's inputs can share a run: all dimensions but the first agree, and each item has as
 * many rows in one input as in the other.
 */
export function sharesRun(a: Tensors, b: Tensors, inputs: readonly TensorMetadata[]): boolean {
  const first = inputs[0]?.name ?? '';
  const [rowsA, rowsB] = [a[first]?.shape[0], b[first]?.shape[0]];
  for (const { name } of inputs) {
    const [shapeA, shapeB] = [a[name]?.shape, b[name]?.shape];
    if (shapeA === undefined || shapeB === undefined || shapeA.length !== shapeB.length) return false;
    if (shapeA[0] === undefined || shapeA[0] !== rowsA || shapeB[0] !== rowsB) return false;
    for (let axis = 1; axis < shapeA.length; axis++) if (shapeA[axis] !== shapeB[axis]) return false;
  }
  return true;
}

/**
 * Joins the tensors of items that {@link sharesRun} along their first dimension.
 * @param arena memory for what has to be copied, good until the next batch is stacked; what lies side by side in it already is not copied
 */
export function stackRows(
  items: readonly Tensors[],
  inputs: readonly TensorMetadata[],
  arena?: TensorArena,
): Tensors {
  return Object.fromEntries(
    inputs.map(({ name }) => [
      name,
      concat(
        items.map((item) => item[name] as Tensor),
        (dtype, count) => arena?.takeBatch(name, dtype, count),
      ),
    ]),
  );
}

/**
 * @param total rows of the inputs
 * @throws MarlineError `MODEL_INVALID` when an output has no row for each row of the inputs
 */
export function assertBatchAxis(outputs: Tensors, total: number): void {
  for (const name of Object.keys(outputs)) {
    const { shape } = outputs[name] as Tensor;
    if (shape[0] === total) continue;
    throw new MarlineError('MODEL_INVALID', {
      reason:
        `The model answered a batch of ${total} with output "${name}" of shape ${shapeText(shape)}; its first dimension must be ${total}. ` +
        'Set batchSize to 1 for a model without a batch axis.',
    });
  }
}

/**
 * What tensors must have in common to share a run: names, element types and all dimensions but the first.
 * `undefined` when their first dimensions differ among themselves, so that there is no batch axis to stack along.
 */
export function stackingKey(tensors: Tensors): string | undefined {
  const entries = Object.entries(tensors).toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (rowCount(tensors) === undefined) return undefined;
  return JSON.stringify(entries.map(([name, { dtype, shape }]) => [name, dtype, shape.slice(1)]));
}

/** How many items tensors hold along the batch axis; `undefined` when they disagree. */
export function rowCount(tensors: Tensors): number | undefined {
  const counts = new Set(Object.values(tensors).map((tensor) => tensor.shape[0]));
  return counts.size === 1 ? [...counts][0] : undefined;
}

/** Joins the tensors of items with the same {@link stackingKey} along their first dimension. */
export function stack(items: readonly Tensors[]): Tensors {
  const names = Object.keys(items[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, concat(items.flatMap((item) => item[name] ?? []))]));
}

/**
 * Cuts the outputs of a stacked run into those of its items; each part owns its buffer.
 * @param rows how many rows each item had
 * @throws MarlineError `MODEL_INVALID` when an output has no row for each row of the inputs
 */
export function split(outputs: Tensors, rows: readonly number[]): Tensors[] {
  assertBatchAxis(
    outputs,
    rows.reduce((sum, count) => sum + count, 0),
  );
  let start = 0;
  return rows.map((count) => {
    const part = ownTensors({ outputs, rows: { start, count } });
    start += count;
    return part;
  });
}

function concat(
  parts: readonly Tensor[],
  memory?: (dtype: Exclude<DType, 'string'>, count: number) => NumericArray | undefined,
): Tensor {
  const [first] = parts;
  if (first === undefined) throw new RangeError('Nothing to stack.');
  const { dtype } = first;
  const shape = first.shape.slice();
  shape[0] = 0;
  for (const part of parts) shape[0] += part.shape[0] ?? 0;
  if (dtype === 'string') return { dtype, shape, data: parts.flatMap(({ data }) => data as string[]) };
  const count = elementCount(shape);
  const joined = sideBySide(dtype, parts, count);
  if (joined !== undefined) return { dtype, shape, data: joined };
  const data = memory?.(dtype, count) ?? new (arrayTypeOf(dtype))(count);
  let offset = 0;
  for (const part of parts) {
    data.set(part.data as never, offset);
    offset += part.data.length;
  }
  return { dtype, shape, data };
}

/** One view of parts that lie one behind the other in one buffer; `undefined` when they do not. */
function sideBySide(
  dtype: Exclude<DType, 'string'>,
  parts: readonly Tensor[],
  count: number,
): NumericArray | undefined {
  const arrays = parts.map(({ data }) => data as NumericArray);
  const { buffer, byteOffset } = arrays[0] as NumericArray;
  let end = byteOffset;
  for (const array of arrays) {
    if (array.buffer !== buffer || array.byteOffset !== end) return undefined;
    end += array.byteLength;
  }
  return new (arrayTypeOf(dtype))(buffer as ArrayBuffer, byteOffset, count);
}
