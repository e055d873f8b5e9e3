import { type Tensor, type Tensors } from '#libs/common';
import type { BinaryTail } from './binary-tail.js';
import { DATATYPES, dtypeOf, invalid, knownDatatypes, show } from './datatypes.js';
import { tensorOf } from './element-values.js';
import { float16Value } from './float16.js';
import { ScannedData } from './request-scan.js';

/** A tensor in the JSON of the open inference protocol. @publicApi */
export interface TensorJson {
  readonly name: string;
  readonly shape: readonly number[];
  /** `FP32`, `INT64`, `BOOL`, `BYTES`, … */
  readonly datatype: string;
  readonly data: readonly unknown[];
}

/** More inputs than any model of ours could want; keeps a hostile request from making millions of tiny tensors. */
const MAX_INPUTS = 1024;
/** ONNX Runtime itself knows no more than eight or so; deeper is a mistake or an attack. */
const MAX_RANK = 32;

/**
 * Reads `inputs` of an open inference request. Data is flat or nested as the shape says; 64-bit integers may be decimal
 * strings, which is the only way to write those beyond 2^53; FP16 is written as numbers; numbers are finite.
 * @param tail what inputs with `binary_data_size` are read from; those are refused without it
 * @throws MarlineError `INVALID_INPUT` that names the input and what is wrong with it
 */
export function decodeTensors(inputs: unknown, tail?: BinaryTail): Tensors {
  if (!Array.isArray(inputs) || inputs.length === 0) {
    throw invalid('"inputs" is a non-empty array of { "name", "shape", "datatype", "data" }.');
  }
  if (inputs.length > MAX_INPUTS)
    throw invalid(`"inputs" has ${inputs.length} entries; at most ${MAX_INPUTS} are allowed.`);
  const tensors: Record<string, Tensor> = {};
  for (let index = 0; index < inputs.length; index++) {
    const input: unknown = inputs[index];
    if (typeof input !== 'object' || input === null) throw invalid(`inputs[${index}] is not an object.`);
    const { name } = input as { readonly name?: unknown };
    if (typeof name !== 'string') throw invalid(`inputs[${index}] has no "name".`);
    if (Object.hasOwn(tensors, name)) throw invalid(`${labelOf(name)} is given twice.`);
    const tensor = decodeTensor(name, input, tail);
    // Assigning to it would set the prototype, and an input of this name is just a name.
    if (name === '__proto__')
      Object.defineProperty(tensors, name, {
        value: tensor,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    else tensors[name] = tensor;
  }
  tail?.end();
  return tensors;
}

interface GivenInput {
  readonly datatype?: unknown;
  readonly shape?: unknown;
  readonly data?: unknown;
  readonly parameters?: unknown;
}

function decodeTensor(name: string, input: GivenInput, tail: BinaryTail | undefined): Tensor {
  const { datatype, shape, data, parameters } = input;
  const size = binarySize(parameters);
  if (size !== undefined && data !== undefined)
    throw invalid(`${labelOf(name)} has both "data" and a binary_data_size; give one of them.`);
  if (data instanceof ScannedData) return data.tensor;
  const dtype = dtypeOf(datatype);
  if (dtype === undefined) {
    throw invalid(
      `${labelOf(name)}: the datatype ${show(datatype)} is unknown; known are ${knownDatatypes()}.`,
    );
  }
  if (
    !Array.isArray(shape) ||
    shape.length > MAX_RANK ||
    !shape.every((dimension) => typeof dimension === 'number')
  ) {
    throw invalid(`${labelOf(name)}: "shape" is an array of at most ${MAX_RANK} whole numbers.`);
  }
  if (size !== undefined) {
    if (tail !== undefined) return tail.take(dtype, shape, size, labelOf(name));
    throw invalid(
      `${labelOf(name)}: binary_data_size needs the header Inference-Header-Content-Length, the length of the JSON that the binary data stands behind.`,
    );
  }
  if (!Array.isArray(data)) throw invalid(`${labelOf(name)}: "data" is an array.`);
  return tensorOf(dtype, shape, data as unknown[], labelOf(name));
}

function binarySize(parameters: unknown): unknown {
  if (typeof parameters !== 'object' || parameters === null) return undefined;
  return (parameters as { readonly binary_data_size?: unknown }).binary_data_size;
}

function labelOf(name: string): string {
  return `Input ${show(name)}`;
}

/**
 * Writes tensors as the protocol does, data flat in row-major order. 64-bit integers are numbers where a double holds
 * them exactly and decimal strings beyond; NaN and infinities, which JSON lacks, become `null` when they are written.
 * @param names the outputs to write, in this order; all by default
 */
export function encodeTensors(
  tensors: Tensors,
  names: readonly string[] = Object.keys(tensors),
): TensorJson[] {
  return names.map((name) => {
    const tensor = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
    if (tensor === undefined) throw invalid(`The model has no output "${name}".`);
    return { name, shape: tensor.shape, datatype: DATATYPES[tensor.dtype], data: plainValues(tensor) };
  });
}

/** The elements as JSON values: booleans, numbers, strings. */
export function plainValues({ dtype, data }: Tensor): (number | string | boolean)[] {
  const elements = Array.from<number | bigint | string>(data);
  if (dtype === 'bool') return elements.map((element) => element !== 0);
  if (dtype === 'float16') return elements.map((bits) => float16Value(Number(bits)));
  if (dtype !== 'int64' && dtype !== 'uint64') return elements as (number | string)[];
  return elements.map((element) =>
    Number.isSafeInteger(Number(element)) ? Number(element) : String(element),
  );
}
