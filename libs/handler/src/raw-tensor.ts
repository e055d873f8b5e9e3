import type { HeaderText, Tensor, TensorMetadata, Tensors } from '#libs/common';
import { invalid } from './datatypes.js';
import { isFree, shapeText } from './shape.js';
import { dataOfBytes, widthOf } from './tensor-bytes.js';

const BYTES_TYPE = 'application/octet-stream';

/** True for the media type of bare bytes, in any letter case. */
export function isBytesType(mediaType: string): boolean {
  return mediaType === BYTES_TYPE || mediaType.toLowerCase() === BYTES_TYPE;
}

/**
 * The model's one input from its bare bytes: little-endian, in row-major order. The one dimension that the model may leave open
 * follows from their number. The tensor is a view of the bytes where they are aligned.
 * @throws MarlineError `INVALID_INPUT` when the model's inputs leave more open, or the bytes do not fit
 */
export function tensorOfBytes(bytes: Uint8Array, inputs: readonly TensorMetadata[]): Tensors {
  const [input] = inputs;
  if (input === undefined || inputs.length > 1)
    throw invalid(
      `A body of type ${BYTES_TYPE} is the bytes of one tensor, and this model takes ${inputs.length}; send them as JSON.`,
    );
  const { name, dtype, shape } = input;
  const what = `input "${name}" (${dtype} ${shapeText(shape)})`;
  if (dtype === 'string') throw invalid(`Texts have no fixed width: send ${what} as JSON.`);
  const free = shape.findIndex(isFree);
  if (free !== shape.findLastIndex(isFree))
    throw invalid(`The bytes do not tell how long each open dimension of ${what} is; send it as JSON.`);
  const fixed = shape.map((dimension, axis) => (axis === free ? 1 : Number(dimension)));
  const width = widthOf(dtype);
  const size = fixed.reduce((product, dimension) => product * dimension, width);
  const count = bytes.byteLength / size;
  if (free === -1 ? count !== 1 : !Number.isInteger(count) || count === 0) {
    const wanted = free === -1 ? `exactly ${size}` : `a multiple of ${size}`;
    throw invalid(`The body has ${bytes.byteLength} bytes; ${what} takes ${wanted}.`);
  }
  if (free !== -1) fixed[free] = count;
  const data = dataOfBytes(dtype, bytes.byteLength / width, bytes, `Input "${name}"`);
  const tensor: Tensor = { dtype, shape: fixed, data };
  return Object.fromEntries([[name, tensor]]);
}

/** True when a request's headers ask for an answer of bare bytes. */
export function acceptsBytes(headers: HeaderText): boolean {
  // Most requests do not name the type at all.
  if (!/octet-stream/i.test(headers)) return false;
  const lines = headers.split('\n');
  for (let index = 0; index + 1 < lines.length; index += 2) {
    if (lines[index]?.toLowerCase() !== 'accept') continue;
    const types = (lines[index + 1] ?? '').split(',');
    if (types.some((type) => isBytesType((type.split(';', 1)[0] ?? '').trim()))) return true;
  }
  return false;
}
