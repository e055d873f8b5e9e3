import type { Tensor, TensorMetadata, Tensors } from '#libs/common';
import { BaseHandler } from '../base-handler.js';
import type { ModelContext, RequestsContext } from '../context.js';
import { isFree, shapeText } from '../shape.js';
import { labelAt, readLabels, type Labels } from './labels.js';
import { invalidModel, listed, onlyInputOf, wholePicture, type PictureInput } from './picture.js';
import { unreadable } from './scores.js';

/** What was found: its label with its box, then `score`. */
type Found = ReadonlyMap<string, number | readonly number[]>;

const THRESHOLD = 0.5;
const COORDINATES = 4;
const INPUT = 'one input, float32 [3,height,width] or [batch,3,height,width]';

/**
 * TorchServe's `object_detector`: a picture in, a list of `{ label: [x1, y1, x2, y2], "score": s }` out.
 *
 * The picture keeps its size, and the boxes are in its pixels, as torchvision's detectors have it; EXIF has turned it before.
 * The model gives `boxes`, `labels` and `scores` in the order in which they are answered; what scores less than 0.5 is left
 * out. Labels come from `index_to_name.json` of the archive; without it they are the class numbers.
 */
export class ObjectDetector extends BaseHandler<PictureInput, readonly Found[]> {
  #input = 'input';
  #batched = false;
  #labels: Labels = new Map();

  /** @throws MarlineError `MODEL_INVALID` when the model does not take a picture or give such outputs, `HANDLER_INVALID` when the labels are malformed */
  override async initialize(context: ModelContext): Promise<void> {
    const { name, shape } = inputOf(context.inputs);
    this.#input = name;
    this.#batched = shape.length === 4;
    checkOutputs(context.outputs, this.#batched && isFree(shape[0]));
    this.#labels = await readLabels(context.systemProperties.modelDir);
  }

  override async preprocess(input: PictureInput, context: RequestsContext): Promise<Tensors> {
    return { [this.#input]: await wholePicture(input, this.#batched, context) };
  }

  override postprocess(outputs: Tensors): readonly Found[] {
    const [boxes, labels, scores] = foundOf(outputs);
    return Array.from(scores.data, Number).flatMap((score, index) => {
      if (!(score >= THRESHOLD)) return [];
      const box = Array.from(boxes.data.slice(index * COORDINATES, (index + 1) * COORDINATES), Number);
      const label = labelAt(this.#labels, Number(labels.data[index]));
      return [new Map<string, number | readonly number[]>([[label, box]]).set('score', score)];
    });
  }
}

function inputOf(inputs: readonly TensorMetadata[]): TensorMetadata {
  const input =
    onlyInputOf(inputs, [3, undefined, undefined]) ??
    onlyInputOf(inputs, [undefined, 3, undefined, undefined]);
  const batch = input?.shape.length === 4 ? input.shape[0] : 1;
  if (input !== undefined && (batch === 1 || isFree(batch))) return input;
  throw invalidModel(`object_detector needs a model with ${INPUT}; the inputs are: ${listed(inputs)}.`);
}

/** @param stacked true when the model takes several pictures at once: then each output says which of them a box belongs to */
function checkOutputs(outputs: readonly TensorMetadata[], stacked: boolean): void {
  const ranks = [
    ['boxes', ['float32'], 2],
    ['labels', ['int64', 'int32'], 1],
    ['scores', ['float32'], 1],
  ] as const;
  const fits = ranks.every(([name, dtypes, rank]) => {
    const output = outputs.find((candidate) => candidate.name === name);
    if (output === undefined || !dtypes.some((dtype) => dtype === output.dtype)) return false;
    return output.shape.length === rank + 1 || (!stacked && output.shape.length === rank);
  });
  if (fits) return;
  const axis = stacked ? 'batch,' : '';
  throw invalidModel(
    `object_detector needs a model with the outputs "boxes" float32 [${axis}found,4], "labels" int64 [${axis}found] and "scores" float32 [${axis}found]` +
      `${stacked ? ', since its input has an open batch axis' : ''}; the outputs are: ${listed(outputs)}.`,
  );
}

function foundOf({ boxes, labels, scores }: Tensors): [boxes: Tensor, labels: Tensor, scores: Tensor] {
  const count = scores?.data.length;
  if (
    boxes?.shape.at(-1) === COORDINATES &&
    boxes.data.length === COORDINATES * (count ?? 0) &&
    labels !== undefined &&
    labels.data.length === count &&
    scores !== undefined
  )
    return [boxes, labels, scores];
  const shapes = Object.entries({ boxes, labels, scores }).map(
    ([name, tensor]) => `"${name}" ${tensor === undefined ? 'is missing' : shapeText(tensor.shape)}`,
  );
  throw unreadable(
    'object_detector',
    `${shapes.join(', ')} do not belong together; a box has 4 numbers, a label and a score`,
  );
}
