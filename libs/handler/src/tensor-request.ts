import type { Tensors } from '#libs/common';
import type { RequestsContext } from './context.js';
import { parse, requestOf, type ProtocolRequest } from './protocol-request.js';
import { encodeTensors, type TensorJson } from './tensor-json.js';

/** The answer of the open inference protocol (v2). @publicApi */
export interface TensorResponse {
  readonly model_name: string;
  readonly model_version: string;
  /** The request's own id, when it had one. */
  readonly id?: string;
  readonly outputs: readonly TensorJson[];
}

/** What the answer repeats of its request, by the context that both hooks of an item share. */
const remembered = new WeakMap<RequestsContext, ProtocolRequest>();

/**
 * The tensors of a request in the open inference protocol's JSON:
 * `{ "inputs": [{ "name", "shape", "datatype", "data" }], "id"?, "outputs"?: [{ "name" }] }`.
 * Text and bytes are parsed first, so the content type does not matter. All outputs are answered as JSON.
 * @throws MarlineError `INVALID_INPUT` with a text that names the input and what is wrong with it
 */
export function readTensorRequest(input: unknown, context: RequestsContext): Tensors {
  const request = requestOf(jsonOf(input), context.outputs);
  remembered.set(context, request);
  return request.tensors;
}

/** The answer to a request that {@link readTensorRequest} read: all outputs, or those that it asked for. */
export function writeTensorResponse(outputs: Tensors, context: RequestsContext): TensorResponse {
  const { id, outputs: wanted } = remembered.get(context) ?? {};
  return {
    model_name: context.modelName,
    model_version: context.modelVersion,
    ...(id === undefined ? {} : { id }),
    outputs: encodeTensors(
      outputs,
      wanted?.map(({ name }) => name),
    ),
  };
}

function jsonOf(input: unknown): unknown {
  if (input instanceof Uint8Array) return parse(input);
  return typeof input === 'string' ? parse(new TextEncoder().encode(input)) : input;
}
