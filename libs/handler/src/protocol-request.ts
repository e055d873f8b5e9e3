import { MarlineError, type ProtocolInput, type TensorMetadata, type Tensors } from '#libs/common';
import { BinaryTail } from './binary-tail.js';
import { invalid, show } from './datatypes.js';
import { parseJson, parseRequest } from './request-scan.js';
import type { TensorArena } from './tensor-arena.js';
import { decodeTensors } from './tensor-json.js';

/** An output that a request asks for. */
export interface WantedOutput {
  readonly name: string;
  /** True for its bytes behind the JSON, false for JSON. */
  readonly binary: boolean;
}

/** What a request of the open inference protocol says. */
export interface ProtocolRequest {
  /** The request's own id. */
  readonly id: string | undefined;
  readonly tensors: Tensors;
  /** The outputs to answer with; all when there is no such list. */
  readonly outputs: readonly WantedOutput[] | undefined;
  /** How outputs are answered that are not asked for one by one: `binary_data_output`. */
  readonly binary: boolean;
}

/**
 * Reads a request: its JSON, and the binary data behind it. Binary tensors are views of the body where they are aligned.
 * @param outputs the model's
 * @param arena memory for tensors that are written as JSON; the request is good until its reset
 * @throws MarlineError `INVALID_INPUT` with a text that names what is wrong
 */
export function readProtocolRequest(
  { body, jsonBytes }: Pick<ProtocolInput, 'body' | 'jsonBytes'>,
  outputs: readonly TensorMetadata[],
  arena?: TensorArena,
): ProtocolRequest {
  if (jsonBytes === undefined) return requestOf(parse(body, arena), outputs);
  if (!Number.isInteger(jsonBytes) || jsonBytes < 0 || jsonBytes > body.byteLength) {
    throw invalid(
      `Inference-Header-Content-Length is ${show(jsonBytes)}, and the body has ${body.byteLength} bytes.`,
    );
  }
  const tail = new BinaryTail(body.subarray(jsonBytes));
  return requestOf(parseHead(body.subarray(0, jsonBytes)), outputs, tail);
}

/**
 * What JSON says as a request: `{ "inputs": [{ "name", "shape", "datatype", "data" }], "id"?, "outputs"?: [{ "name" }] }`.
 * @param tail the binary data behind the JSON
 * @throws MarlineError `INVALID_INPUT` with a text that names what is wrong
 */
export function requestOf(
  value: unknown,
  outputs: readonly TensorMetadata[],
  tail?: BinaryTail,
): ProtocolRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('The request is a JSON object with "inputs": [{ "name", "shape", "datatype", "data" }].');
  }
  const request = value as {
    readonly id?: unknown;
    readonly inputs?: unknown;
    readonly outputs?: unknown;
    readonly parameters?: unknown;
  };
  const { id, parameters } = request;
  if (id !== undefined && typeof id !== 'string') throw invalid('"id" is a string.');
  const tensors = decodeTensors(request.inputs, tail);
  const binary = flagOf(parameters, 'binary_data_output') ?? false;
  return {
    id,
    tensors,
    outputs: request.outputs === undefined ? undefined : wantedOutputs(request.outputs, outputs, binary),
    binary,
  };
}

/**
 * The JSON of a request, whatever its content type says.
 * @throws MarlineError `INVALID_INPUT`
 */
export function parse(bytes: Uint8Array, arena?: TensorArena): unknown {
  try {
    return parseRequest(bytes, arena);
  } catch (cause) {
    throw noJson(cause);
  }
}

/** The same where the tensors are binary: such JSON is short, and not worth a scan for numbers. */
function parseHead(bytes: Uint8Array): unknown {
  try {
    return parseJson(bytes);
  } catch (cause) {
    throw noJson(cause);
  }
}

function noJson(cause: unknown): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason: 'The request is not valid JSON.' }, { cause });
}

function wantedOutputs(
  outputs: unknown,
  known: readonly TensorMetadata[],
  binary: boolean,
): readonly WantedOutput[] {
  if (!Array.isArray(outputs)) throw invalid('"outputs" is an array of { "name" }.');
  const names = new Set<string>();
  return outputs.map((output: unknown) => {
    const name = typeof output === 'object' && output !== null && 'name' in output ? output.name : undefined;
    if (typeof name !== 'string') throw invalid('"outputs" is an array of { "name" }.');
    if (known.length > 0 && !known.some((own) => own.name === name)) {
      throw invalid(
        `The model has no output "${name.slice(0, 40)}"; it has ${known.map((own) => `"${own.name}"`).join(', ')}.`,
      );
    }
    // Once each: an answer must not be many times as large as what the model gave.
    if (names.has(name)) throw invalid(`Output ${show(name)} is asked for twice.`);
    names.add(name);
    const { parameters } = output as { readonly parameters?: unknown };
    return { name, binary: flagOf(parameters, 'binary_data') ?? binary };
  });
}

function flagOf(parameters: unknown, name: 'binary_data' | 'binary_data_output'): boolean | undefined {
  if (typeof parameters !== 'object' || parameters === null) return undefined;
  const flag = (parameters as Readonly<Record<string, unknown>>)[name];
  if (flag === undefined || typeof flag === 'boolean') return flag;
  throw invalid(`The parameter "${name}" is true or false, not ${show(flag)}.`);
}
