import { MarlineError, type Tensor, type Tensors } from '#libs/common';
import { encodeTensors } from '#libs/handler';

/** A tensor with its name, in the order of the model's outputs. */
export type NamedTensor = Tensor & { readonly name: string };

/** Half floats have three digits. */
const FLOAT16_TOLERANCE = 1e-2;
/** A difference of this size is none: an output that is all zeros has no scale. */
const NOTHING = 1e-9;

/**
 * How far two answers are apart: the largest difference of two elements, relative to the largest value of its output. Whole numbers
 * must be equal, NaN and infinities must be at the same places.
 * @param tolerance largest difference allowed, as a part of 1; half floats are allowed 0.01 at least
 * @throws MarlineError `MODEL_INVALID` that tells where and by how much they differ
 */
export function compareOutputs(expected: readonly NamedTensor[], actual: Tensors, tolerance: number): number {
  const differences = expected.map((tensor) => {
    const other = Object.hasOwn(actual, tensor.name) ? actual[tensor.name] : undefined;
    if (other === undefined) throw differs(tensor.name, 'is missing from the ONNX model');
    if (other.dtype !== tensor.dtype || other.shape.join() !== tensor.shape.join())
      throw differs(
        tensor.name,
        `is ${other.dtype} [${other.shape.join()}] and not ${tensor.dtype} [${tensor.shape.join()}]`,
      );
    return difference(tensor, other, tolerance);
  });
  return Math.max(0, ...differences);
}

function difference(expected: NamedTensor, actual: Tensor, tolerance: number): number {
  const { name, dtype } = expected;
  if (!dtype.startsWith('float')) {
    const at = indexWhere(expected.data.length, (index) => expected.data[index] !== actual.data[index]);
    if (at !== -1)
      throw differs(name, `has ${actual.data[at]} at element ${at}, PyTorch ${expected.data[at]}`);
    return 0;
  }
  const [a, b] = [numbersOf(expected), numbersOf(actual)];
  const largest = a.reduce(
    (most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most),
    0,
  );
  const allowed = dtype === 'float16' ? Math.max(tolerance, FLOAT16_TOLERANCE) : tolerance;
  let most = 0;
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? Number.NaN;
    if (Object.is(value, other) || value === other) continue;
    const apart = Math.abs(value - other);
    if (apart <= NOTHING) continue;
    // A number beside an infinity is apart by no finite number, and beside NaN by none at all.
    if (!(apart <= allowed * largest))
      throw differs(
        name,
        `has ${other} at element ${index}, PyTorch ${value}; ${(allowed * largest).toPrecision(2)} apart is allowed (${allowed} of its largest value)`,
      );
    most = Math.max(most, apart / largest);
  }
  return most;
}

function numbersOf(tensor: Tensor): readonly number[] {
  return (encodeTensors({ tensor })[0]?.data ?? []) as number[];
}

function indexWhere(length: number, isIt: (index: number) => boolean): number {
  for (let index = 0; index < length; index++) if (isIt(index)) return index;
  return -1;
}

function differs(name: string, how: string): MarlineError {
  return new MarlineError('MODEL_INVALID', {
    reason: `The ONNX model gives other answers than PyTorch: output "${name}" ${how}.`,
  });
}
