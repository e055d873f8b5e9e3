import { MarlineError, type ItemResult, type RawInput } from '#libs/common';
import { bodyOf } from '#libs/inference';
import { exactNumber, exactText, parseExact } from './exact-json.js';
import type {
  InferInput,
  InferOutput,
  ModelInferRequest,
  ModelInferResponse,
} from './model-infer-messages.js';
import { elementsOf } from './model-infer.js';
import { contentsOf, contentsOfBytes } from './tensor-contents.js';

/** What the `kservev2` envelope makes of the outputs of a handler. */
interface HandlerAnswer {
  readonly id?: unknown;
  readonly model_name?: unknown;
  readonly model_version?: unknown;
  readonly outputs?: unknown;
}

/**
 * A request as JSON for a handler behind the envelope `kservev2`, as TorchServe writes it: data nested as the shape
 * says, `BYTES` in base64.
 * @throws MarlineError `INVALID_INPUT` for elements that do not fill the shape
 */
export function handlerInput(request: ModelInferRequest): RawInput {
  const elements = elementsOf(request);
  const inputs = request.inputs.map((input, index) => inputText(input, elements[index] as Uint8Array));
  const { id, model_name: name } = request;
  const text = `{"id":${JSON.stringify(id)},"model_name":${JSON.stringify(name)},"inputs":[${inputs.join()}]}`;
  const body = { name: 'body', contentType: 'application/json', value: Buffer.from(text) };
  return { kind: 'raw', headers: '', parameters: [body] };
}

/**
 * The answer of the envelope. An element of a `BYTES` output is the JSON of what the handler gave, also of a text.
 * @throws MarlineError `HANDLER_INVALID` for another answer
 */
export function readHandlerAnswer({ output }: ItemResult, request: ModelInferRequest): ModelInferResponse {
  const answer = parseAnswer(Buffer.from(bodyOf(output)).toString());
  const { id = request.id, model_name = request.model_name, model_version = '', outputs } = answer;
  if (!Array.isArray(outputs)) throw foreignAnswer();
  return {
    id: String(id),
    model_name: String(model_name),
    model_version: String(exactNumber(model_version)),
    outputs: outputs.map(readOutput),
  };
}

function inputText({ name, datatype, shape }: InferInput, bytes: Uint8Array): string {
  const contents = contentsOfBytes(datatype, bytes);
  const [values] = Object.values(contents ?? {}) as [readonly unknown[] | undefined];
  if (values === undefined) throw invalid(`${datatype} is no data type for a handler`, name);
  const texts = values.map((value) => elementText(datatype, value));
  const dimensions = shape.map(Number);
  const count = dimensions.reduce((product, dimension) => product * dimension, 1);
  if (texts.length !== count)
    throw invalid(`${texts.length} elements are given, shape [${shape.join()}] has ${count}`, name);
  const data = nested(texts, dimensions);
  return `{"shape":[${shape.join()}],"data":${data},"datatype":${JSON.stringify(datatype)},"name":${JSON.stringify(name)}}`;
}

function elementText(datatype: string, value: unknown): string {
  if (Buffer.isBuffer(value)) return `"${value.toString('base64')}"`;
  const text = String(value);
  // In Python a number without a point is an int.
  return datatype.startsWith('FP') && /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** The elements in arrays as the shape says; one array for a scalar. */
function nested(texts: readonly string[], shape: readonly number[]): string {
  let rows = texts;
  for (const dimension of shape.slice(1).toReversed()) {
    const count = dimension === 0 ? 0 : rows.length / dimension;
    rows = Array.from(
      { length: count },
      (_, row) => `[${rows.slice(row * dimension, (row + 1) * dimension).join()}]`,
    );
  }
  return `[${rows.join()}]`;
}

function parseAnswer(text: string): HandlerAnswer {
  let value: unknown;
  try {
    value = parseExact(text);
  } catch (cause) {
    throw foreignAnswer(cause);
  }
  if (typeof value !== 'object' || value === null) throw foreignAnswer();
  return value;
}

function readOutput(output: unknown): InferOutput {
  if (typeof output !== 'object' || output === null) throw foreignAnswer();
  const { name, datatype, shape, data } = output as Readonly<Record<string, unknown>>;
  if (!Array.isArray(shape) || !Array.isArray(data)) throw foreignAnswer();
  const values: readonly unknown[] = data.flat(Infinity);
  const contents =
    datatype === 'BYTES'
      ? { bytes_contents: data.map((element) => Buffer.from(exactText(element))) }
      : contentsOf(String(datatype), values.map(exactNumber));
  if (contents === undefined) throw foreignAnswer();
  return {
    name: String(name),
    datatype: String(datatype),
    shape: shape.map((dimension) => String(exactNumber(dimension))),
    contents,
  };
}

function invalid(problem: string, name: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason: `Input ${JSON.stringify(name)}: ${problem}.` });
}

function foreignAnswer(cause?: unknown): MarlineError {
  const reason =
    'The answer of the handler is none of the open inference protocol. Serve the model with the envelope kservev2: service_envelope=kservev2.';
  return new MarlineError('HANDLER_INVALID', { reason }, { cause });
}
