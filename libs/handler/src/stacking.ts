import {
  MarlineError,
  arrayTypeOf,
  elementCount,
  type Tensor,
  type TensorData,
  type TensorMetadata,
  type Tensors,
} from '#libs/common';
import { isFree, shapeText } from './shape.js';

/** True when the model lets its first dimension grow for every input: only then can items share a run. */
export function isStackable(inputs: readonly TensorMetadata[]): boolean {
  return inputs.length > 0 && inputs.every((input) => isFree(input.shape[0]));
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
  const total = rows.reduce((sum, count) => sum + count, 0);
  for (const [name, { shape }] of Object.entries(outputs)) {
    if (shape[0] === total) continue;
    throw new MarlineError('MODEL_INVALID', {
      reason:
        `The model answered a batch of ${total} with output "${name}" of shape ${shapeText(shape)}; its first dimension must be ${total}. ` +
        'Set batchSize to 1 for a model without a batch axis.',
    });
  }
  let start = 0;
  return rows.map((count) => {
    const from = start;
    start += count;
    return Object.fromEntries(
      Object.entries(outputs).map(([name, output]) => [name, part(output, from, count)]),
    );
  });
}

function concat(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (first === undefined) throw new RangeError('Nothing to stack.');
  const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const shape = [rows, ...first.shape.slice(1)];
  const { dtype } = first;
  if (dtype === 'string') return { dtype, shape, data: parts.flatMap(({ data }) => data as string[]) };
  const data = new (arrayTypeOf(dtype))(elementCount(shape));
  let offset = 0;
  for (const part of parts) {
    data.set(part.data as never, offset);
    offset += part.data.length;
  }
  return { dtype, shape, data };
}

function part({ dtype, shape, data }: Tensor, from: number, count: number): Tensor {
  const [, ...rest] = shape;
  const size = elementCount(rest);
  // A copy: a view would take the whole batch's buffer along when it is sent to another thread.
  const own: TensorData = data.slice(from * size, (from + count) * size);
  return { dtype, shape: [count, ...rest], data: own };
}
