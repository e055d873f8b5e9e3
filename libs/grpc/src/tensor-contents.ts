import { MarlineError } from '#libs/common';
import type { InferInput, TensorContents } from './model-infer-messages.js';

type ListName = keyof TensorContents;
type NumberType =
  | typeof Int8Array
  | typeof Int16Array
  | typeof Int32Array
  | typeof Uint8Array
  | typeof Uint16Array
  | typeof Uint32Array
  | typeof Float32Array
  | typeof Float64Array;

/** The list of each data type but BYTES, whose elements have a length, and the array that has its elements as bytes. */
const LISTS: ReadonlyMap<
  string,
  {
    readonly list: Exclude<ListName, 'bytes_contents'>;
    readonly type: NumberType | typeof BigInt64Array | typeof BigUint64Array;
  }
> = new Map([
  ['BOOL', { list: 'bool_contents', type: Uint8Array }],
  ['INT8', { list: 'int_contents', type: Int8Array }],
  ['INT16', { list: 'int_contents', type: Int16Array }],
  ['INT32', { list: 'int_contents', type: Int32Array }],
  ['INT64', { list: 'int64_contents', type: BigInt64Array }],
  ['UINT8', { list: 'uint_contents', type: Uint8Array }],
  ['UINT16', { list: 'uint_contents', type: Uint16Array }],
  ['UINT32', { list: 'uint_contents', type: Uint32Array }],
  ['UINT64', { list: 'uint64_contents', type: BigUint64Array }],
  ['FP32', { list: 'fp32_contents', type: Float32Array }],
  ['FP64', { list: 'fp64_contents', type: Float64Array }],
]);

const LENGTH_BYTES = 4;

/**
 * The elements of an input as the protocol's binary form has them, little-endian and without gaps. Of a data type that nobody
 * knows there are none: whoever reads the request says so.
 * @throws MarlineError `INVALID_INPUT` for elements in another list, or beyond the data type
 */
export function bytesOfContents({ name, datatype, contents }: InferInput): Uint8Array {
  const label = `Input ${JSON.stringify(name)}`;
  if (datatype === 'FP16')
    throw invalid(`${label}: FP16 has no list of elements; send it as raw_input_contents.`);
  const list = datatype === 'BYTES' ? 'bytes_contents' : LISTS.get(datatype)?.list;
  if (contents === null || list === undefined) return new Uint8Array(0);
  const values: readonly unknown[] = contents[list] ?? [];
  const other = Object.entries(contents).find(
    ([key, given]) => key !== list && (given as unknown[]).length > 0,
  );
  if (other !== undefined)
    throw invalid(`${label}: the elements of ${datatype} go into ${list}, and ${other[0]} has some.`);
  if (list === 'bytes_contents') return withLengths(values as Buffer[]);
  const written = numbersOf(datatype, values, label);
  return new Uint8Array(written.buffer, written.byteOffset, written.byteLength);
}

/**
 * Elements in the binary form as the list of their data type; `undefined` where there is none.
 * @throws MarlineError `INVALID_INPUT` for bytes that are no whole number of elements
 */
export function contentsOfBytes(datatype: string, bytes: Uint8Array): TensorContents | undefined {
  if (datatype === 'BYTES') return { bytes_contents: withoutLengths(bytes) };
  const type = LISTS.get(datatype)?.type;
  if (type === undefined) return undefined;
  if (bytes.byteLength % type.BYTES_PER_ELEMENT !== 0)
    throw invalid(`${bytes.byteLength} bytes are no whole number of elements of ${datatype}.`);
  // The bytes stand anywhere in an answer, and numbers are read at multiples of their width.
  const elements = new type(Uint8Array.from(bytes).buffer);
  return contentsOf(datatype, Array.from<number | bigint>(elements));
}

/** Elements as the list of their data type; `undefined` where there is none. */
export function contentsOf(datatype: string, values: readonly unknown[]): TensorContents | undefined {
  const list = LISTS.get(datatype)?.list;
  if (list === undefined) return undefined;
  const isLong = list === 'int64_contents' || list === 'uint64_contents';
  const convert = list === 'bool_contents' ? Boolean : isLong ? String : Number;
  return { [list]: values.map((value) => convert(value)) };
}

function numbersOf(datatype: string, values: readonly unknown[], label: string): ArrayBufferView {
  const type = LISTS.get(datatype)?.type ?? Uint8Array;
  if (type === BigInt64Array || type === BigUint64Array) return type.from((values as string[]).map(BigInt));
  const written = (type as NumberType).from(values.map(Number));
  const wrong = datatype.startsWith('FP')
    ? -1
    : written.findIndex((value, index) => value !== Number(values[index]));
  if (wrong >= 0)
    throw invalid(`${label}: ${datatype} has no value ${String(values[wrong])} (element ${wrong}).`);
  return written;
}

function withLengths(elements: readonly Buffer[]): Buffer {
  return Buffer.concat(
    elements.flatMap((element) => {
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt32LE(element.length);
      return [length, element];
    }),
  );
}

function withoutLengths(bytes: Uint8Array): Buffer[] {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const elements: Buffer[] = [];
  for (let at = 0; at < all.length;) {
    const start = at + LENGTH_BYTES;
    const end = start <= all.length ? start + all.readUInt32LE(at) : Infinity;
    if (end > all.length) throw invalid(`Element ${elements.length} of BYTES is longer than the data.`);
    elements.push(all.subarray(start, end));
    at = end;
  }
  return elements;
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}
