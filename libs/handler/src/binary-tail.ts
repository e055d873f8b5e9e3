import { type DType, type Tensor } from '#libs/common';
import { invalid, show } from './datatypes.js';
import { countOf } from './element-values.js';
import { dataOfBytes } from './tensor-bytes.js';

/** The binary data behind the JSON of an open inference request: the inputs' tensors in the order of the inputs. */
export class BinaryTail {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /**
   * The next tensor: a view of the bytes where they are aligned.
   * @param size the input's `binary_data_size`, as it was given
   * @throws MarlineError `INVALID_INPUT` when there are fewer bytes, or they are not what the shape says
   */
  take(dtype: DType, shape: readonly number[], size: unknown, label: string): Tensor {
    if (!Number.isSafeInteger(size) || Number(size) < 0)
      throw invalid(`${label}: binary_data_size is ${show(size)}; it is a number of bytes.`);
    const length = Number(size);
    const left = this.#bytes.byteLength - this.#at;
    if (length > left)
      throw invalid(`${label}: binary_data_size is ${length}, and the body has ${left} bytes left.`);
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return { dtype, shape, data: dataOfBytes(dtype, countOf(shape, label), bytes, label) };
  }

  /** @throws MarlineError `INVALID_INPUT` when bytes are left that belong to no input */
  end(): void {
    const left = this.#bytes.byteLength - this.#at;
    if (left > 0) throw invalid(`The body has ${left} bytes behind the binary data of its last input.`);
  }
}
