import { arrayTypeOf, type DType, type Tensor, type TensorData } from '#libs/common';
import { DATATYPES, invalid } from './datatypes.js';

/** Length in front of each element of a `BYTES` tensor: 32 bits, little-endian, unsigned. */
const LENGTH_BYTES = 4;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes of one element; strings have no fixed width. */
export function widthOf(dtype: Exclude<DType, 'string'>): number {
  return arrayTypeOf(dtype).BYTES_PER_ELEMENT;
}

/**
 * The elements that bytes hold in the form of the protocol's binary extension: little-endian, without gaps. They are a view
 * of the bytes where those are aligned, else a copy; the view's owner may reuse the bytes only after the tensor.
 * @param count how many elements the shape has
 * @param label what an error calls the tensor
 * @throws MarlineError `INVALID_INPUT` when the bytes are not exactly `count` elements, or are no bools or texts
 */
export function dataOfBytes(dtype: DType, count: number, bytes: Uint8Array, label: string): TensorData {
  if (dtype === 'string') return textsOf(bytes, count, label);
  const width = widthOf(dtype);
  if (bytes.byteLength !== count * width) {
    throw invalid(
      `${label}: ${bytes.byteLength} bytes of data are given, ${count} elements of ${DATATYPES[dtype]} are ${count * width}.`,
    );
  }
  if (dtype === 'bool') {
    const wrong = bytes.findIndex((byte) => byte > 1);
    if (wrong >= 0)
      throw invalid(`${label}: element ${wrong} is the byte ${bytes[wrong]}; BOOL takes the bytes 0 and 1.`);
  }
  const { buffer, byteOffset } = byteOffsetFits(bytes, width) ? bytes : bytes.slice();
  return new (arrayTypeOf(dtype))(buffer as ArrayBuffer, byteOffset, count);
}

/** How many bytes {@link writeBytes} will write. */
export function byteLengthOf({ dtype, data }: Tensor, from: number, to: number): number {
  if (dtype !== 'string') return (to - from) * widthOf(dtype);
  let length = 0;
  for (let index = from; index < to; index++)
    length += LENGTH_BYTES + Buffer.byteLength(data[index] as string);
  return length;
}

/** Writes the elements from index `from` to before `to` at a position of `target`. */
export function writeBytes(
  { dtype, data }: Tensor,
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
): void {
  if (dtype === 'string') {
    writeTexts(data as readonly string[], from, to, target, at);
    return;
  }
  const { buffer, byteOffset, BYTES_PER_ELEMENT } = data as Exclude<TensorData, string[]>;
  const start = byteOffset + from * BYTES_PER_ELEMENT;
  target.set(new Uint8Array(buffer, start, (to - from) * BYTES_PER_ELEMENT), at);
}

function byteOffsetFits(bytes: Uint8Array, width: number): boolean {
  return bytes.byteOffset % width === 0;
}

function textsOf(bytes: Uint8Array, count: number, label: string): string[] {
  const texts: string[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < bytes.byteLength) {
    const start = at + LENGTH_BYTES;
    const end = start <= bytes.byteLength ? start + view.getUint32(at, true) : Infinity;
    if (end > bytes.byteLength) {
      throw invalid(
        `${label}: element ${texts.length} is longer than the data; before each stands its length, in four bytes, little-endian.`,
      );
    }
    texts.push(textOf(bytes.subarray(start, end), texts.length, label));
    at = end;
  }
  if (texts.length !== count)
    throw invalid(`${label}: the data has ${texts.length} elements, the shape needs ${count}.`);
  return texts;
}

function textOf(bytes: Uint8Array, index: number, label: string): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw invalid(`${label}: element ${index} is not UTF-8, which a string tensor of ONNX Runtime is.`);
  }
}

function writeTexts(
  texts: readonly string[],
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
): void {
  const buffer = Buffer.from(target.buffer, target.byteOffset, target.byteLength);
  let position = at;
  for (let index = from; index < to; index++) {
    const length = buffer.write(texts[index] as string, position + LENGTH_BYTES);
    position = buffer.writeUInt32LE(length, position) + length;
  }
}
