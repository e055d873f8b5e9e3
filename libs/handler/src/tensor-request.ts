import { MarlineError, type Tensors } from '#libs/common';
import type { RequestsContext } from './context.js';
import { decodeTensors, encodeTensors, type TensorJson } from './tensor-json.js';

/** The answer of the open inference protocol (v2). @publicApi */
export interface TensorResponse {
  readonly model_name: string;
  readonly model_version: string;
  /** The request's own id, when it had one. */
  readonly id?: string;
  readonly outputs: readonly TensorJson[];
}

interface Remembered {
  readonly id?: string;
  readonly outputs?: readonly string[];
}

/** What the answer repeats of its request, by the context that both hooks of an item share. */
const remembered = new WeakMap<RequestsContext, Remembered>();

/**
 * The tensors of a request in the open inference protocol's JSON:
 * `{ "inputs": [{ "name", "shape", "datatype", "data" }], "id"?, "outputs"?: [{ "name" }] }`; `parameters` are ignored.
 * Text and bytes are parsed first, so the content type does not matter.
 * @throws MarlineError `INVALID_INPUT` with a text that names the input and what is wrong with it
 */
export function readTensorRequest(input: unknown, context: RequestsContext): Tensors {
  const request = asObject(input);
  const { id, outputs } = request;
  if (id !== undefined && typeof id !== 'string') throw invalid('"id" is a string.');
  const tensors = decodeTensors(request['inputs']);
  remembered.set(context, {
    ...(id === undefined ? {} : { id }),
    ...(outputs === undefined ? {} : { outputs: wantedOutputs(outputs, context) }),
  });
  return tensors;
}

/** The answer to a request that {@link readTensorRequest} read: all outputs, or those that it asked for. */
export function writeTensorResponse(outputs: Tensors, context: RequestsContext): TensorResponse {
  const { id, outputs: wanted } = remembered.get(context) ?? {};
  return {
    model_name: context.modelName,
    model_version: context.modelVersion,
    ...(id === undefined ? {} : { id }),
    outputs: encodeTensors(outputs, wanted),
  };
}

function asObject(input: unknown): Readonly<Record<string, unknown>> {
  const value = typeof input === 'string' || input instanceof Uint8Array ? parse(input) : input;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('The request is a JSON object with "inputs": [{ "name", "shape", "datatype", "data" }].');
  }
  return value as Readonly<Record<string, unknown>>;
}

function parse(input: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof input === 'string' ? input : new TextDecoder().decode(input)) as unknown;
  } catch (cause) {
    throw new MarlineError('INVALID_INPUT', { reason: 'The request is not valid JSON.' }, { cause });
  }
}

function wantedOutputs(outputs: unknown, context: RequestsContext): string[] {
  if (!Array.isArray(outputs)) throw invalid('"outputs" is an array of { "name" }.');
  const known = context.outputs.map((output) => output.name);
  return outputs.map((output: unknown) => {
    const name = typeof output === 'object' && output !== null && 'name' in output ? output.name : undefined;
    if (typeof name !== 'string') throw invalid('"outputs" is an array of { "name" }.');
    if (known.length > 0 && !known.includes(name)) {
      throw invalid(
        `The model has no output "${name.slice(0, 40)}"; it has ${known.map((own) => `"${own}"`).join(', ')}.`,
      );
    }
    return name;
  });
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
