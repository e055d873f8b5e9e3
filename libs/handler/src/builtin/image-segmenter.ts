import type { Tensor, TensorMetadata, Tensors } from '#libs/common';
import { BaseHandler } from '../base-handler.js';
import type { ModelContext, RequestsContext } from '../context.js';
import { shapeText } from '../shape.js';
import { invalidModel, listed, squareInputOf, squarePicture, type PictureInput } from './picture.js';
import { unreadable } from './scores.js';

/** Class and probability of one pixel. */
type Pixel = readonly [number, number];

const OUTPUT = 'out';
const RANK = 4;

/**
 * TorchServe's `image_segmenter`: a picture in, for each pixel its most probable class and that probability out.
 *
 * The picture is prepared as for `image_classifier`. The output `out`, or the only one, is float32 `[batch,classes,height,width]`;
 * the answer is a list of rows of `[class, probability]`.
 */
export class ImageSegmenter extends BaseHandler<PictureInput, readonly (readonly Pixel[])[]> {
  #input = 'input';
  #output = OUTPUT;

  /** @throws MarlineError `MODEL_INVALID` when the model does not take such a picture, or does not give classes of pixels */
  override initialize(context: ModelContext): void {
    this.#input = squareInputOf('image_segmenter', context.inputs);
    this.#output = outputOf(context.outputs);
  }

  override async preprocess(input: PictureInput, context: RequestsContext): Promise<Tensors> {
    return { [this.#input]: await squarePicture(input, context) };
  }

  override postprocess(outputs: Tensors): readonly (readonly Pixel[])[] {
    return classesOfPixels(outputs[this.#output]);
  }
}

function outputOf(outputs: readonly TensorMetadata[]): string {
  const output =
    outputs.find(({ name }) => name === OUTPUT) ?? (outputs.length === 1 ? outputs[0] : undefined);
  if (output?.dtype === 'float32' && output.shape.length === RANK) return output.name;
  throw invalidModel(
    `image_segmenter needs a model whose output "${OUTPUT}", or only output, is float32 [batch,classes,height,width]; the outputs are: ${listed(outputs)}.`,
  );
}

function classesOfPixels(scores: Tensor | undefined): readonly (readonly Pixel[])[] {
  const [batch, classes = 0, height = 0, width = 0] = scores?.shape ?? [];
  if (scores === undefined || scores.shape.length !== RANK || batch !== 1 || classes === 0) {
    const shape = scores === undefined ? 'is missing' : `has the shape ${shapeText(scores.shape)}`;
    throw unreadable('image_segmenter', `its output ${shape}, not [1,classes,height,width]`);
  }
  const data = scores.data as Float32Array;
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) =>
      mostProbable(data, row * width + column, height * width, classes),
    ),
  );
}

/** Of the scores of one pixel, which lie `plane` elements apart. */
function mostProbable(data: Float32Array, pixel: number, plane: number, classes: number): Pixel {
  let best = 0;
  for (let index = 1; index < classes; index++)
    if ((data[index * plane + pixel] ?? 0) > (data[best * plane + pixel] ?? 0)) best = index;
  const largest = data[best * plane + pixel] ?? 0;
  let sum = 0;
  // The power of the largest itself is 1: its share is what the softmax gives it.
  for (let index = 0; index < classes; index++) sum += Math.exp((data[index * plane + pixel] ?? 0) - largest);
  return [best, 1 / sum];
}
