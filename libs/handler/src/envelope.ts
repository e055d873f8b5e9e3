import { MarlineError } from '#libs/common';
import type { HandlerRequest, RequestValue } from './base-handler.js';
import { oneLineJson } from './output-encoding.js';
import { isNamed } from './request-decoding.js';
import { rowsOf } from './shape.js';

/** What an envelope has to know of a request beside its parameters. */
export interface EnvelopeContext {
  readonly requestId: string;
  readonly explains: boolean;
  readonly modelName: string;
  readonly modelVersion: string;
}

/** A request without its envelope. */
export interface Opened {
  /** What the handler gets, each as if it were a request of its own. */
  readonly data: readonly RequestValue[];
  /** Makes the answer of the request from those to its data, in their order. */
  close(answers: readonly unknown[]): unknown;
}

/**
 * A service envelope of TorchServe: takes a request apart for the handler.
 * @throws MarlineError `INVALID_INPUT` that says what the envelope takes, or what TorchServe answers instead of `PREDICTION_FAILED`
 */
type Envelope = (request: HandlerRequest, context: EnvelopeContext) => Opened;

const ENVELOPES: Readonly<Record<string, Envelope>> = { body, json, kserve, kservev2 };

/**
 * The envelope of a name; `undefined` for the empty one.
 * @throws MarlineError `HANDLER_INVALID`
 */
export function envelopeOf(name: string): Envelope | undefined {
  if (name === '' || Object.hasOwn(ENVELOPES, name)) return ENVELOPES[name];
  throw new MarlineError('HANDLER_INVALID', {
    reason: `The service envelope "${name}" is unknown; there are ${Object.keys(ENVELOPES).join(', ')}.`,
  });
}

/** The bare value of the request. */
function body(request: HandlerRequest): Opened {
  return { data: [valueOf(request) ?? null], close: ([answer]) => answer };
}

/** TensorFlow's rows: `instances` in, one line of JSON out; what stands as `{ "b64": … }` is bytes. */
function json(request: HandlerRequest): Opened {
  const { instances } = objectOf(valueOf(request) ?? request, 'json', 'instances');
  if (!Array.isArray(instances) || instances.length === 0) throw unfit('json', 'instances');
  return {
    data: (instances as readonly RequestValue[]).map((row) => (isNamed(row) ? withBytes(row) : row)),
    close: (predictions) => oneLineJson({ predictions }),
  };
}

/** The first version of KServe's protocol. */
function kserve(request: HandlerRequest, { explains }: EnvelopeContext): Opened {
  const { instances } = objectOf(parsed(valueOf(request), 'kserve'), 'kserve', 'instances');
  // TorchServe runs its handler on them, and trips over what comes back.
  if (!Array.isArray(instances)) throw unfit('kserve', 'instances', 'INVALID_OUTPUT');
  if (instances.length === 0) throw unfit('kserve', 'instances', 'BATCH_LENGTH_MISMATCH');
  return {
    data: instances as readonly RequestValue[],
    close: (answers) => ({ [explains ? 'explanations' : 'predictions']: answers }),
  };
}

/** The open inference protocol: an input is what the handler gets, and its answer is the output of that name. */
function kservev2(request: HandlerRequest, context: EnvelopeContext): Opened {
  const { inputs, id } = objectOf(parsed(valueOf(request), 'kservev2'), 'kservev2', 'inputs');
  if (!Array.isArray(inputs) || inputs.length === 0) throw unfit('kservev2', 'inputs');
  const data = (inputs as readonly RequestValue[]).map(shapedInput);
  return {
    data,
    close: (answers) => ({
      id: typeof id === 'string' && id.trim() !== '' ? id : context.requestId,
      model_name: context.modelName,
      model_version: context.modelVersion,
      outputs: answers.map((answer, index) => outputOf(data[index]?.['name'], answer)),
    }),
  };
}

function valueOf(request: HandlerRequest): RequestValue | undefined {
  return request['data'] ?? request['body'];
}

/** JSON that came as bytes, of another content type. */
function parsed(value: RequestValue | undefined, envelope: string): RequestValue | undefined {
  if (!(value instanceof Uint8Array)) return value;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(value)) as RequestValue;
  } catch {
    throw unfit(envelope, envelope === 'kserve' ? 'instances' : 'inputs');
  }
}

function objectOf(
  value: RequestValue | undefined,
  envelope: string,
  field: keyof typeof SHAPES,
): HandlerRequest {
  if (isNamed(value)) return value;
  throw unfit(envelope, field);
}

function withBytes(row: HandlerRequest): RequestValue {
  return (
    bytesOf(row) ??
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [name, (isNamed(value) && bytesOf(value)) || value]),
    )
  );
}

/** The bytes of `{ "b64": … }`; `undefined` for any other object. */
function bytesOf(value: HandlerRequest): Uint8Array | undefined {
  const { b64 } = value;
  return typeof b64 === 'string' && Object.keys(value).length === 1 ? Buffer.from(b64, 'base64') : undefined;
}

function shapedInput(input: RequestValue, index: number): HandlerRequest {
  const label = `inputs[${index}]`;
  if (!isNamed(input) || typeof input['name'] !== 'string') throw invalid(`${label} has no "name".`);
  const { datatype, shape, data } = input;
  if (!Array.isArray(data) || typeof datatype !== 'string')
    throw invalid(`${label}: "datatype" is a text and "data" an array.`);
  if (datatype === 'BYTES') return { ...input, data: (data as readonly RequestValue[])[0] ?? null };
  if (!Array.isArray(shape) || !shape.every((size) => Number.isInteger(size) && size >= 0))
    throw invalid(`${label}: "shape" is an array of whole numbers.`);
  return { ...input, data: shaped(data, shape as readonly number[], label) };
}

/** The elements in arrays as the shape says, however they are nested. */
function shaped(data: readonly unknown[], shape: readonly number[], label: string): RequestValue {
  const count = shape.reduce((product, size) => product * size, 1);
  const flat = Array.isArray(data[0]) ? data.flat(Infinity) : data;
  let level: readonly unknown[] = rowsOf(flat, [flat.length], count, label)[0] ?? [];
  for (const size of shape.slice(1).toReversed())
    level = Array.from({ length: size === 0 ? 0 : level.length / size }, (_, row) =>
      level.slice(row * size, (row + 1) * size),
    );
  return shape.length === 0 ? (level[0] as RequestValue) : level;
}

function outputOf(name: RequestValue | undefined, answer: unknown): object {
  const typed = typedDatatype(answer);
  const elements: unknown[] =
    typed === undefined ? [answer].flat(Infinity) : Array.from(answer as Iterable<number | bigint>, plain);
  return { name, datatype: typed ?? datatypeOf(elements), data: elements, shape: [elements.length] };
}

/** What numpy would call the elements; a number of JavaScript without a fraction is a whole one. */
function datatypeOf(elements: readonly unknown[]): string {
  // Of nothing, numpy makes floats.
  if (elements.length === 0) return 'FP64';
  if (elements.every((element) => typeof element === 'boolean')) return 'BOOL';
  if (!elements.every((element) => typeof element === 'number')) return 'BYTES';
  return elements.every(Number.isSafeInteger) ? 'INT64' : 'FP64';
}

const TYPED: Readonly<Record<string, string>> = {
  Float32Array: 'FP32',
  Float64Array: 'FP64',
  Int8Array: 'INT8',
  Uint8Array: 'UINT8',
  Buffer: 'UINT8',
  Int16Array: 'INT16',
  Uint16Array: 'UINT16',
  Int32Array: 'INT32',
  Uint32Array: 'UINT32',
  BigInt64Array: 'INT64',
  BigUint64Array: 'UINT64',
};

function typedDatatype(answer: unknown): string | undefined {
  return ArrayBuffer.isView(answer) ? TYPED[answer.constructor.name] : undefined;
}

/** A 64-bit integer as JSON can say it. */
function plain(element: number | bigint): number | string {
  return typeof element === 'number' || Number.isSafeInteger(Number(element))
    ? Number(element)
    : String(element);
}

const SHAPES = {
  instances: '{ "instances": [ … ] } with one instance at least',
  inputs: '{ "inputs": [{ "name", "shape", "datatype", "data" }, …] } with one input at least',
} as const;

function unfit(
  envelope: string,
  field: keyof typeof SHAPES,
  code?: 'INVALID_OUTPUT' | 'BATCH_LENGTH_MISMATCH',
): MarlineError {
  const reason = `The service envelope ${envelope} takes ${SHAPES[field]}, as JSON.`;
  return code === undefined ? invalid(reason) : new MarlineError(code, { cause: reason });
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
