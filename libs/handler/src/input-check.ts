import {
  MarlineError,
  isTensors,
  tensor,
  type Tensor,
  type TensorMetadata,
  type Tensors,
} from '#libs/common';
import { isFree, shapeText } from './shape.js';

/**
 * Checks tensors against the inputs of the model, so that a wrong one fails its own request and never a batch.
 * @param inputs what the model takes; nothing is known, and checked, when empty
 * @throws MarlineError `INVALID_INPUT` that names the input, what is expected and what was given
 */
export function checkInputs(tensors: Tensors, inputs: readonly TensorMetadata[]): void {
  if (!isTensors(tensors))
    throw new TypeError(
      'A model runs on tensors by the names of its inputs: { name: { dtype, shape, data } }.',
    );
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    try {
      tensor(dtype, data, shape);
    } catch (error) {
      throw invalid(`Input "${name}": ${(error as Error).message}`);
    }
  }
  checkFit(tensors, inputs);
}

/**
 * The same for tensors that are known to be sound in themselves.
 * @throws MarlineError `INVALID_INPUT`
 */
export function checkFit(tensors: Tensors, inputs: readonly TensorMetadata[]): void {
  if (inputs.length === 0) return;
  let found = 0;
  let problem: MarlineError | undefined;
  for (const input of inputs) {
    const given = Object.hasOwn(tensors, input.name) ? tensors[input.name] : undefined;
    if (given !== undefined) found++;
    if (problem !== undefined || (given !== undefined && fits(given, input))) continue;
    problem = invalid(
      given === undefined
        ? `Input "${input.name}" is missing; the model takes ${listed(inputs)}.`
        : `Input "${input.name}" must be ${input.dtype} ${shapeText(input.shape)}, got ${given.dtype} ${shapeText(given.shape)}.`,
    );
  }
  const names = Object.keys(tensors);
  // A name that is none explains best why another is missing.
  if (names.length > found) {
    const unknown = names.find((name) => inputs.every((input) => input.name !== name)) ?? '';
    throw invalid(`The model has no input "${unknown.slice(0, 40)}"; it takes ${listed(inputs)}.`);
  }
  if (problem !== undefined) throw problem;
}

function fits({ dtype, shape }: Tensor, input: TensorMetadata): boolean {
  if (dtype !== input.dtype) return false;
  // A shape without dimensions is a scalar, or one that the model leaves open: ONNX Runtime tells them apart when it runs.
  if (input.shape.length === 0) return true;
  if (shape.length !== input.shape.length) return false;
  for (let axis = 0; axis < shape.length; axis++) {
    const dimension = input.shape[axis];
    if (dimension !== shape[axis] && !isFree(dimension)) return false;
  }
  return true;
}

function listed(inputs: readonly TensorMetadata[]): string {
  return inputs.map((input) => `"${input.name}" (${input.dtype} ${shapeText(input.shape)})`).join(', ');
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
