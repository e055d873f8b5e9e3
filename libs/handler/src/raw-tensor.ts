import type { HeaderText, MarlineError, TensorMetadata, Tensors } from '#libs/common';
import { invalid } from './datatypes.js';
import { isFree, shapeText } from './shape.js';
import { dataOfBytes, widthOf } from './tensor-bytes.js';

const BYTES_TYPE = 'application/octet-stream';

/** True for the media type of bare bytes, in any letter case. */
export function isBytesType(mediaType: string): boolean {
  return mediaType === BYTES_TYPE || mediaType.toLowerCase() === BYTES_TYPE;
}

/** How a model's one input is read from bare bytes, worked out once: it is asked for after runs that leave no cache warm. */
export class BareInput {
  readonly #inputs: readonly TensorMetadata[];
  readonly #label: string;
  readonly #shape: readonly number[];
  /** Which dimension the model leaves open; -1 for none. */
  readonly #free: number;
  /** Bytes of one step along it, or of all. */
  readonly #size: number;

  /** @param inputs the model's */
  constructor(inputs: readonly TensorMetadata[]) {
    this.#inputs = inputs;
    const { name = '', dtype = 'string', shape = [] } = inputs[0] ?? {};
    this.#label = `Input "${name}"`;
    this.#free = shape.findIndex(isFree);
    this.#shape = shape.map((dimension, axis) =>
      axis === this.#free ? 1 : isFree(dimension) ? Number.NaN : Number(dimension),
    );
    const width = dtype === 'string' ? 1 : widthOf(dtype);
    this.#size = this.#shape.reduce((product, dimension) => product * dimension, width);
  }

  /**
   * The tensor: little-endian, in row-major order. The one dimension that the model may leave open follows from the number of bytes. It
   * is a view of the bytes where they are aligned.
   * @throws MarlineError `INVALID_INPUT` when the model's inputs leave more open, or the bytes do not fit
   */
  read(bytes: Uint8Array): Tensors {
    const input = this.#inputs[0];
    const count = bytes.byteLength / this.#size;
    const fits = this.#free === -1 ? count === 1 : Number.isInteger(count) && count > 0;
    // NaN, where two dimensions are open, never fits.
    if (input === undefined || this.#inputs.length > 1 || input.dtype === 'string' || !fits)
      throw this.#refusal(bytes);
    const { name, dtype } = input;
    const shape = this.#shape.slice();
    if (this.#free !== -1) shape[this.#free] = count;
    let elements = 1;
    for (const dimension of shape) elements *= dimension;
    const data = dataOfBytes(dtype, elements, bytes, this.#label);
    return { [name]: { dtype, shape, data } };
  }

  #refusal(bytes: Uint8Array): MarlineError {
    const [input] = this.#inputs;
    if (input === undefined || this.#inputs.length > 1) {
      return invalid(
        `A body of type ${BYTES_TYPE} is the bytes of one tensor, and this model takes ${this.#inputs.length}; send them as JSON.`,
      );
    }
    const { name, dtype, shape } = input;
    const what = `input "${name}" (${dtype} ${shapeText(shape)})`;
    if (dtype === 'string') return invalid(`Texts have no fixed width: send ${what} as JSON.`);
    if (this.#free !== shape.findLastIndex(isFree))
      return invalid(`The bytes do not tell how long each open dimension of ${what} is; send it as JSON.`);
    const wanted = this.#free === -1 ? `exactly ${this.#size}` : `a multiple of ${this.#size}`;
    return invalid(`The body has ${bytes.byteLength} bytes; ${what} takes ${wanted}.`);
  }
}

/** The first `Accept` of a text of headers, names and values a line each in turn. */
const ACCEPT = /^(?:[^\n]*\n[^\n]*\n)*?accept\n([^\n]*)/i;

/** True when a request's headers ask for an answer of bare bytes. */
export function acceptsBytes(headers: HeaderText): boolean {
  const accepted = ACCEPT.exec(headers)?.[1];
  if (accepted === undefined || accepted === '*/*') return false;
  return (
    isBytesType(accepted) ||
    accepted.split(',').some((type) => isBytesType((type.split(';', 1)[0] ?? '').trim()))
  );
}
