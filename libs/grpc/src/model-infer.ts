import { MarlineError, type ItemResult, type ProtocolInput } from '#libs/common';
import { bodyOf } from '#libs/inference';
import type { ModelInferRequest, ModelInferResponse } from './model-infer-messages.js';
import { bytesOfContents, contentsOfBytes } from './tensor-contents.js';

/** What the JSON in front of the binary tensors of an answer says. */
interface AnswerHead {
  readonly model_name: string;
  readonly model_version: string;
  readonly id?: string;
  readonly outputs: readonly {
    readonly name: string;
    readonly datatype: string;
    readonly shape: readonly number[];
    readonly parameters: { readonly binary_data_size: number };
  }[];
}

const JSON_LENGTH_HEADER = 'Inference-Header-Content-Length';

/**
 * A request as the same one over HTTP with binary tensors: a short JSON, and the elements of all inputs behind it. A worker
 * reads and checks it; the elements are copied once, into the buffer that goes there.
 * @throws MarlineError `INVALID_INPUT` for elements that belong to no input, or to none of its data type
 */
export function modelInput(request: ModelInferRequest): ProtocolInput {
  const elements = elementsOf(request);
  const head = JSON.stringify({
    id: request.id === '' ? undefined : request.id,
    inputs: request.inputs.map(({ name, datatype, shape }, index) => ({
      name,
      datatype,
      shape: shape.map(Number),
      parameters: { binary_data_size: elements[index]?.byteLength },
    })),
    outputs: request.outputs.length === 0 ? undefined : request.outputs.map(({ name }) => ({ name })),
    parameters: { binary_data_output: true },
  });
  const json = Buffer.from(head);
  return { kind: 'protocol', body: Buffer.concat([json, ...elements]), jsonBytes: json.length };
}

/**
 * The elements of each input in binary form.
 * @throws MarlineError `INVALID_INPUT` when some are raw and some are not
 */
export function elementsOf({ inputs, raw_input_contents: raw }: ModelInferRequest): readonly Uint8Array[] {
  if (raw.length === 0) return inputs.map(bytesOfContents);
  if (raw.length !== inputs.length || inputs.some(({ contents }) => contents !== null)) {
    throw new MarlineError('INVALID_INPUT', {
      reason: `raw_input_contents has ${raw.length} entries for ${inputs.length} inputs; give one for each input, and no other contents.`,
    });
  }
  return raw;
}

/**
 * The answer of a model, in the form of its request: raw contents, or lists of elements. An output whose data type has no list makes
 * the whole answer raw, as the protocol asks for.
 * @throws MarlineError `INVALID_OUTPUT` for an answer that is none of the protocol's
 */
export function readModelAnswer(
  result: ItemResult,
  { raw_input_contents: raw }: ModelInferRequest,
): ModelInferResponse {
  const body = Buffer.from(bodyOf(result.output));
  const length = result.headers.find(([name]) => name === JSON_LENGTH_HEADER)?.[1];
  const jsonBytes = length === undefined ? body.length : Number(length);
  const { outputs, ...head } = JSON.parse(body.toString('utf8', 0, jsonBytes)) as AnswerHead;
  let at = jsonBytes;
  const elements = outputs.map(({ parameters }) => body.subarray(at, (at += parameters.binary_data_size)));
  const described = outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }));
  const answer = { id: '', ...head, outputs: described };
  const contents =
    raw.length > 0
      ? []
      : outputs.map(({ datatype }, index) => contentsOfBytes(datatype, elements[index] as Buffer));
  if (raw.length > 0 || contents.includes(undefined)) return { ...answer, raw_output_contents: elements };
  return { ...answer, outputs: described.map((output, index) => ({ ...output, contents: contents[index] })) };
}
