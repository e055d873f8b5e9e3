import type { Tensor, Tensors } from '#libs/common';

/** What a run gave, and which of its rows belong to one item. */
export interface RunPart {
  readonly outputs: Tensors;
  /** The item's rows along the batch axis; left out for an item that ran alone, to which all belongs. */
  readonly rows?: { readonly start: number; readonly count: number };
}

/** The elements of one output that belong to an item. */
export interface OutputPart {
  readonly tensor: Tensor;
  readonly shape: readonly number[];
  /** Index of the first element, and of the one behind the last. */
  readonly from: number;
  readonly to: number;
}

/** The part of an output; `undefined` when the run gave none of that name. */
export function outputPart({ outputs, rows }: RunPart, name: string): OutputPart | undefined {
  const tensor = Object.hasOwn(outputs, name) ? outputs[name] : undefined;
  if (tensor === undefined) return undefined;
  const { shape, data } = tensor;
  if (rows === undefined) return { tensor, shape, from: 0, to: data.length };
  const own = shape.slice();
  own[0] = rows.count;
  let size = 1;
  for (let axis = 1; axis < shape.length; axis++) size *= shape[axis] as number;
  return { tensor, shape: own, from: rows.start * size, to: (rows.start + rows.count) * size };
}

/** The part as tensors of their own: a view would take the whole run's buffers along to another thread. */
export function ownTensors(part: RunPart): Tensors {
  const { outputs, rows } = part;
  if (rows === undefined) return outputs;
  return Object.fromEntries(
    Object.keys(outputs).map((name) => {
      const { tensor, shape, from, to } = outputPart(part, name) as OutputPart;
      return [name, { dtype: tensor.dtype, shape, data: tensor.data.slice(from, to) }];
    }),
  );
}
