import { MarlineError, type Tensor, type TensorMetadata } from '#libs/common';
import type { RequestsContext } from '../context.js';
import { tensorOf } from '../element-values.js';
import { isFree, nestedShape, shapeText } from '../shape.js';

/** A picture as a request has it: bytes, base64 in a string, or a nested list that is a finished tensor without its batch axis. */
export type PictureInput = Uint8Array | string | readonly unknown[];

const SIDE = 224;
const SHORTER_SIDE = 256;
const MAX_LIST_RANK = 8;
/** Mean and standard deviation of ImageNet's pixels in RGB order, on a scale from 0 to 1. */
const MEAN = [0.485, 0.456, 0.406] as const;
const DEVIATION = [0.229, 0.224, 0.225] as const;

/**
 * The name of the input of a model that takes ImageNet's pictures, float32 `[batch,3,224,224]`.
 * @param handler whom an error speaks of
 * @throws MarlineError `MODEL_INVALID` that lists the inputs
 */
export function squareInputOf(handler: string, inputs: readonly TensorMetadata[]): string {
  const input = onlyInputOf(inputs, [undefined, 3, SIDE, SIDE]);
  if (input !== undefined) return input.name;
  throw invalidModel(
    `${handler} needs a model with one input, float32 [batch,3,${SIDE},${SIDE}]; the inputs are: ${listed(inputs)}.`,
  );
}

/**
 * The only input, when it is float32 and has these dimensions.
 * @param wanted `undefined` for a dimension of any length
 */
export function onlyInputOf(
  inputs: readonly TensorMetadata[],
  wanted: readonly (number | undefined)[],
): TensorMetadata | undefined {
  const [input] = inputs;
  const fits =
    inputs.length === 1 &&
    input?.dtype === 'float32' &&
    input.shape.length === wanted.length &&
    input.shape.every(
      (dimension, axis) => isFree(dimension) || wanted[axis] === undefined || wanted[axis] === dimension,
    );
  return fits ? input : undefined;
}

/** Tensors of a model as error texts show them. */
export function listed(tensors: readonly TensorMetadata[]): string {
  return (
    tensors.map(({ name, dtype, shape }) => `"${name}" ${dtype} ${shapeText(shape)}`).join(', ') || 'none'
  );
}

/** @param problem ends in a full stop */
export function invalidModel(problem: string): MarlineError {
  return new MarlineError('MODEL_INVALID', { reason: `${problem} A handler of your own can serve others.` });
}

/**
 * The picture as ImageNet's models take it, `[1,3,224,224]`: turned as EXIF says, scaled to a shorter side of 256, cut to the
 * central 224 × 224 pixels and normalised.
 * @throws MarlineError `INVALID_INPUT`
 */
export async function squarePicture(input: PictureInput, context: RequestsContext): Promise<Tensor> {
  if (Array.isArray(input)) return listedPicture(input, true);
  const { data } = await context.decodeImage(bytesOf(input), { shorterSide: SHORTER_SIDE, centreCrop: SIDE });
  const scale = DEVIATION.map((deviation) => 1 / (255 * deviation));
  const shift = MEAN.map((mean, channel) => mean / (DEVIATION[channel] ?? 1));
  return { dtype: 'float32', shape: [1, 3, SIDE, SIDE], data: planes(data, scale, shift) };
}

/**
 * The picture in its own size, turned as EXIF says, with values from 0 to 1.
 * @param batched true for `[1,3,height,width]`, false for `[3,height,width]`
 * @throws MarlineError `INVALID_INPUT`
 */
export async function wholePicture(
  input: PictureInput,
  batched: boolean,
  context: RequestsContext,
): Promise<Tensor> {
  if (Array.isArray(input)) return listedPicture(input, batched);
  const { data, width, height } = await context.decodeImage(bytesOf(input));
  const shape = [...(batched ? [1] : []), 3, height, width];
  return { dtype: 'float32', shape, data: planes(data, Array(3).fill(1 / 255), [0, 0, 0]) };
}

function bytesOf(input: PictureInput): Uint8Array {
  const bytes = typeof input === 'string' ? Buffer.from(input, 'base64') : input;
  if (bytes instanceof Uint8Array) return bytes;
  throw new MarlineError('INVALID_INPUT', {
    reason: 'An image is sent as bytes, as base64 text, or as a nested list of numbers.',
  });
}

/** Interleaved bytes to planes of floats, in the order that torchvision's ToTensor and Normalize give. */
function planes(pixels: Uint8Array, scales: readonly number[], shifts: readonly number[]): Float32Array {
  const plane = pixels.length / 3;
  const data = new Float32Array(pixels.length);
  for (const [channel, scale] of scales.entries()) {
    const shift = shifts[channel] ?? 0;
    const start = channel * plane;
    for (let pixel = 0; pixel < plane; pixel++)
      data[start + pixel] = (pixels[pixel * 3 + channel] ?? 0) * scale - shift;
  }
  return data;
}

function listedPicture(values: readonly unknown[], batched: boolean): Tensor {
  const { shape, ...rest } = tensorOf('float32', nestedShape(values, MAX_LIST_RANK), values, 'The image');
  return { ...rest, shape: batched ? [1, ...shape] : shape };
}
