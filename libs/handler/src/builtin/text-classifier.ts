import { MarlineError, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';
import { BaseHandler } from '../base-handler.js';
import type { ModelContext } from '../context.js';
import { isFree, shapeText } from '../shape.js';
import { labelAt, readLabels, type Labels } from './labels.js';
import { invalidModel, listed } from './picture.js';
import { softmax, unreadable } from './scores.js';
import { readTokenizer, type Tokenizer } from './tokenizer-files.js';

const IDS = 'input_ids';
const MASK = 'attention_mask';
const TYPES = 'token_type_ids';
const OUTPUT = 'logits';
/** The first and the last token, and one between them. */
const LEAST_LENGTH = 3;

/**
 * TorchServe's `text_classifier` for the models that are exported today: a text in, all labels with their probabilities out.
 *
 * The model is one of BERT's kind, `input_ids` with, if it likes, `attention_mask` and `token_type_ids`, all int64
 * `[batch,sequence]`, and its output `logits`, or only output, is float32 `[batch,classes]`. The archive has the vocabulary of
 * its WordPiece tokenizer. Labels come from `index_to_name.json`; without it they are the class numbers.
 */
export class TextClassifier extends BaseHandler<Uint8Array | string, ReadonlyMap<string, number>> {
  #inputs: readonly string[] = [];
  #output = OUTPUT;
  #tokenizer: Tokenizer | undefined;
  /** The length of every sequence, where the model has one. */
  #length: number | undefined;
  #labels: Labels = new Map();

  /** @throws MarlineError `MODEL_INVALID` when the model is of another kind, `HANDLER_INVALID` when a file is missing or malformed */
  override async initialize(context: ModelContext): Promise<void> {
    this.#length = sequenceLengthOf(context.inputs);
    this.#inputs = context.inputs.map(({ name }) => name);
    this.#output = outputOf(context.outputs);
    const { modelDir } = context.systemProperties;
    this.#tokenizer = await readTokenizer(modelDir);
    this.#labels = await readLabels(modelDir);
  }

  override preprocess(input: Uint8Array | string): Tensors {
    const text = textOf(input);
    const { wordPiece, maxLength } = this.#loaded();
    const ids = wordPiece.encode(text, this.#length ?? maxLength);
    const values: Readonly<Record<string, readonly number[]>> = {
      [IDS]: ids,
      [MASK]: ids.map(() => 1),
      [TYPES]: ids.map(() => 0),
    };
    const row = Object.fromEntries(this.#inputs.map((name) => [name, rowOf(values[name] ?? [])]));
    return this.#length === undefined ? row : this.#filled(row, this.#length);
  }

  override pad(items: readonly Tensors[]): readonly Tensors[] {
    const longest = Math.max(...items.map((item) => item[IDS]?.shape[1] ?? 0));
    return items.map((item) => this.#filled(item, longest));
  }

  override postprocess(outputs: Tensors): ReadonlyMap<string, number> {
    const scores = outputs[this.#output];
    if (scores?.shape.length !== 2 || scores.shape[0] !== 1) {
      const shape = scores === undefined ? 'is missing' : `has the shape ${shapeText(scores.shape)}`;
      throw unreadable('text_classifier', `its output ${shape}, not [1,classes]`);
    }
    const probabilities = softmax(Array.from(scores.data, Number));
    return new Map(probabilities.map((probability, index) => [labelAt(this.#labels, index), probability]));
  }

  #filled(item: Tensors, length: number): Tensors {
    const padId = BigInt(this.#loaded().wordPiece.padId);
    return Object.fromEntries(
      Object.entries(item).map(([name, tensor]) => [
        name,
        widened(tensor, length, name === IDS ? padId : 0n),
      ]),
    );
  }

  #loaded(): Tokenizer {
    if (this.#tokenizer === undefined) throw new Error('initialize was not called.');
    return this.#tokenizer;
  }
}

function textOf(input: unknown): string {
  const text = input instanceof Uint8Array ? decoded(input) : input;
  if (typeof text === 'string' && text.trim() !== '') return text;
  throw invalidText('A text is sent as UTF-8 bytes or as a JSON string, and is not empty.');
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw invalidText('The text is not UTF-8.');
  }
}

function invalidText(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}

function rowOf(values: readonly number[]): Tensor {
  return { dtype: 'int64', shape: [1, values.length], data: BigInt64Array.from(values, BigInt) };
}

/** The tensor with rows of `length` elements, `filler` behind those that it has. */
function widened(tensor: Tensor, length: number, filler: bigint): Tensor {
  const [rows = 0, width = 0] = tensor.shape;
  if (width === length) return tensor;
  const values = tensor.data as BigInt64Array;
  const data = new BigInt64Array(rows * length).fill(filler);
  for (let row = 0; row < rows; row++)
    data.set(values.subarray(row * width, (row + 1) * width), row * length);
  return { dtype: 'int64', shape: [rows, length], data };
}

/** @returns the length of the model's sequences; `undefined` when it takes any */
function sequenceLengthOf(inputs: readonly TensorMetadata[]): number | undefined {
  const known = [IDS, MASK, TYPES];
  const fits =
    inputs.some(({ name }) => name === IDS) &&
    inputs.every(
      ({ name, dtype, shape }) =>
        known.includes(name) &&
        dtype === 'int64' &&
        shape.length === 2 &&
        (isFree(shape[0]) || shape[0] === 1) &&
        (isFree(shape[1]) || Number(shape[1]) >= LEAST_LENGTH),
    );
  const lengths = new Set(inputs.map(({ shape }) => (isFree(shape[1]) ? undefined : Number(shape[1]))));
  if (fits && lengths.size === 1) return [...lengths][0];
  throw invalidModel(
    `text_classifier needs a model with the input "${IDS}" and, if it likes, "${MASK}" and "${TYPES}", each int64 [batch,sequence]; the inputs are: ${listed(inputs)}.`,
  );
}

function outputOf(outputs: readonly TensorMetadata[]): string {
  const output =
    outputs.find(({ name }) => name === OUTPUT) ?? (outputs.length === 1 ? outputs[0] : undefined);
  if (output?.dtype === 'float32' && output.shape.length === 2) return output.name;
  throw invalidModel(
    `text_classifier needs a model whose output "${OUTPUT}", or only output, is float32 [batch,classes]; the outputs are: ${listed(outputs)}.`,
  );
}
