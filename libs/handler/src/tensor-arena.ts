import { arrayTypeOf, type DType, type TensorData } from '#libs/common';

type NumericDType = Exclude<DType, 'string'>;
type NumericArray = Exclude<TensorData, string[]>;

const SMALLEST_BYTES = 64 * 1024;
const LARGEST_BYTES = 1024 * 1024;
/** Largest batch whose memory is kept. */
const LARGEST_BATCH_BYTES = 64 * 1024 * 1024;

/**
 * Memory for the input tensors of one run, used again for the next. Small typed arrays of their own cost more to make than to
 * fill; and what is taken one after the other lies side by side, so that the items of a batch are stacked already.
 *
 * What it hands out is not zeroed: fill all of it. It is good until the next {@link reset}.
 */
export class TensorArena {
  #memory = new ArrayBuffer(SMALLEST_BYTES);
  #used = 0;
  /** Memory of large batches, by the name of the input. */
  readonly #batches = new Map<string, ArrayBuffer>();

  /** Makes all memory free again; nobody may look at earlier arrays any more. */
  reset(): void {
    this.#used = 0;
  }

  /** An array of `count` elements; one of its own when it is large. */
  take(dtype: NumericDType, count: number): NumericArray {
    const type = arrayTypeOf(dtype);
    const width = type.BYTES_PER_ELEMENT;
    const start = Math.ceil(this.#used / width) * width;
    const end = start + count * width;
    if (end <= this.#memory.byteLength) {
      this.#used = end;
      return new type(this.#memory, start, count);
    }
    if (end > LARGEST_BYTES) return new type(count);
    // Earlier arrays keep the old memory.
    this.#memory = new ArrayBuffer(Math.max(2 * this.#memory.byteLength, 2 ** Math.ceil(Math.log2(end))));
    this.#used = count * width;
    return new type(this.#memory, 0, count);
  }

  /**
   * An array of `count` elements for the rows of a whole batch. Up to 64 MiB it is the same memory each time: to touch fresh memory can
   * take longer than the run. A large one is good until the next call for the same input.
   */
  takeBatch(input: string, dtype: NumericDType, count: number): NumericArray {
    const type = arrayTypeOf(dtype);
    const bytes = count * type.BYTES_PER_ELEMENT;
    if (bytes <= LARGEST_BYTES || bytes > LARGEST_BATCH_BYTES) return this.take(dtype, count);
    let memory = this.#batches.get(input);
    if (memory === undefined || memory.byteLength < bytes) {
      memory = new ArrayBuffer(bytes);
      this.#batches.set(input, memory);
    }
    return new type(memory, 0, count);
  }

  /** How much is in use: what {@link rollBack} takes. */
  get mark(): number {
    return this.#used;
  }

  /** Gives back what was taken since the mark, for an item that failed. */
  rollBack(mark: number): void {
    if (mark < this.#used) this.#used = mark;
  }
}
