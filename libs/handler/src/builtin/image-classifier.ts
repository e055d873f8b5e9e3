import type { Tensor, Tensors } from '#libs/common';
import { BaseHandler } from '../base-handler.js';
import type { ModelContext, RequestsContext } from '../context.js';
import { plainValues } from '../tensor-json.js';
import { labelAt, readLabels, type Labels } from './labels.js';
import { squareInputOf, squarePicture, type PictureInput } from './picture.js';
import { softmax } from './scores.js';

const TOP = 5;

/**
 * TorchServe's `image_classifier`: a picture in, the five most probable labels out.
 *
 * Bytes (or base64 in a string) are decoded, turned as EXIF says, scaled to a shorter side of 256, cut to the central
 * 224 × 224 pixels and normalised as ImageNet is; a nested list is taken for a finished tensor without its batch axis. The
 * first output is softmaxed. Labels come from `index_to_name.json` of the archive; without it they are the class numbers.
 */
export class ImageClassifier extends BaseHandler<PictureInput, ReadonlyMap<string, number>> {
  #input = 'input';
  #labels: Labels = new Map();

  /** @throws MarlineError `MODEL_INVALID` when the model does not take such a picture, `HANDLER_INVALID` when the labels are malformed */
  override async initialize(context: ModelContext): Promise<void> {
    this.#input = squareInputOf('image_classifier', context.inputs);
    this.#labels = await readLabels(context.systemProperties.modelDir);
  }

  override async preprocess(input: PictureInput, context: RequestsContext): Promise<Tensors> {
    return { [this.#input]: await squarePicture(input, context) };
  }

  override postprocess(outputs: Tensors): ReadonlyMap<string, number> {
    const [scores] = Object.values(outputs);
    if (scores === undefined) throw new Error('The model has no output.');
    return topLabels(scores, this.#labels);
  }
}

function topLabels(scores: Tensor, labels: Labels): ReadonlyMap<string, number> {
  const probabilities = softmax(plainValues(scores).map(Number));
  const ranking = [...probabilities.keys()].toSorted(
    (a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0),
  );
  // A map, because an object would put labels that are numbers in their own order, not that of the probabilities.
  return new Map(ranking.slice(0, TOP).map((index) => [labelAt(labels, index), probabilities[index] ?? 0]));
}
