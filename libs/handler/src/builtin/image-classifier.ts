import { MarlineError, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';
import { BaseHandler } from '../base-handler.js';
import type { ModelContext, RequestsContext } from '../context.js';
import { isFree, nestedShape, shapeText } from '../shape.js';
import { tensorOf } from '../element-values.js';
import { plainValues } from '../tensor-json.js';
import { labelAt, readLabels, type Labels } from './labels.js';

const SIDE = 224;
const SHORTER_SIDE = 256;
const TOP = 5;
/** Mean and standard deviation of ImageNet's pixels in RGB order, on a scale from 0 to 1. */
const MEAN = [0.485, 0.456, 0.406] as const;
const DEVIATION = [0.229, 0.224, 0.225] as const;

/**
 * TorchServe's `image_classifier`: a picture in, the five most probable labels out.
 *
 * Bytes (or base64 in a string) are decoded, turned as EXIF says, scaled to a shorter side of 256, cut to the central
 * 224 × 224 pixels and normalised as ImageNet is; a nested list is taken for a finished tensor without its batch axis. The
 * first output is softmaxed. Labels come from `index_to_name.json` of the archive; without it they are the class numbers.
 */
export class ImageClassifier extends BaseHandler<
  Uint8Array | string | readonly unknown[],
  ReadonlyMap<string, number>
> {
  #input = 'input';
  #labels: Labels = new Map();

  /** @throws MarlineError `MODEL_INVALID` when the model does not take such a picture, `HANDLER_INVALID` when the labels are malformed */
  override async initialize(context: ModelContext): Promise<void> {
    this.#input = pictureInputOf(context.inputs);
    this.#labels = await readLabels(context.systemProperties.modelDir);
  }

  override async preprocess(
    input: Uint8Array | string | readonly unknown[],
    context: RequestsContext,
  ): Promise<Tensors> {
    if (Array.isArray(input)) return { [this.#input]: listed(input) };
    const bytes = typeof input === 'string' ? Buffer.from(input, 'base64') : input;
    if (!(bytes instanceof Uint8Array)) {
      throw new MarlineError('INVALID_INPUT', {
        reason: 'An image is sent as bytes, as base64 text, or as a nested list of numbers.',
      });
    }
    const { data } = await context.decodeImage(bytes, { shorterSide: SHORTER_SIDE, centreCrop: SIDE });
    return { [this.#input]: { dtype: 'float32', shape: [1, 3, SIDE, SIDE], data: normalised(data) } };
  }

  override postprocess(outputs: Tensors): ReadonlyMap<string, number> {
    const [scores] = Object.values(outputs);
    if (scores === undefined) throw new Error('The model has no output.');
    return topLabels(scores, this.#labels);
  }
}

function pictureInputOf(inputs: readonly TensorMetadata[]): string {
  const [input] = inputs;
  const wanted = [undefined, 3, SIDE, SIDE];
  const fits =
    inputs.length === 1 &&
    input?.dtype === 'float32' &&
    input.shape.length === 4 &&
    input.shape.every(
      (dimension, axis) => isFree(dimension) || wanted[axis] === undefined || wanted[axis] === dimension,
    );
  if (fits) return input.name;
  const given =
    inputs.map(({ name, dtype, shape }) => `"${name}" ${dtype} ${shapeText(shape)}`).join(', ') || 'none';
  throw new MarlineError('MODEL_INVALID', {
    reason: `image_classifier needs a model with one input, float32 [batch,3,${SIDE},${SIDE}]; the inputs are: ${given}. A handler of your own can prepare others.`,
  });
}

/** Interleaved bytes to planes of floats, in the order that torchvision's ToTensor and Normalize give. */
function normalised(pixels: Uint8Array): Float32Array {
  const plane = SIDE * SIDE;
  const data = new Float32Array(3 * plane);
  for (const [channel, mean] of MEAN.entries()) {
    const scale = 1 / (255 * (DEVIATION[channel] ?? 1));
    const shift = mean / (DEVIATION[channel] ?? 1);
    const start = channel * plane;
    for (let pixel = 0; pixel < plane; pixel++)
      data[start + pixel] = (pixels[pixel * 3 + channel] ?? 0) * scale - shift;
  }
  return data;
}

function listed(values: readonly unknown[]): Tensor {
  const { shape, ...rest } = tensorOf('float32', nestedShape(values, 8), values, 'The image');
  return { ...rest, shape: [1, ...shape] };
}

function topLabels(scores: Tensor, labels: Labels): ReadonlyMap<string, number> {
  const probabilities = softmax(plainValues(scores).map(Number));
  const ranking = [...probabilities.keys()].toSorted(
    (a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0),
  );
  // A map, because an object would put labels that are numbers in their own order, not that of the probabilities.
  return new Map(ranking.slice(0, TOP).map((index) => [labelAt(labels, index), probabilities[index] ?? 0]));
}

function softmax(scores: readonly number[]): number[] {
  // Relative to the largest, so that no exponential overflows.
  const largest = scores.reduce((max, score) => Math.max(max, score), -Infinity);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
