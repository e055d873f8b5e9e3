import { arrayTypeOf, type Tensor, type TensorMetadata, type Tensors } from '#libs/common';
import type { OnnxSession } from './onnx-session.js';

/** A change that costs less than this, or less than so many times a run, is nothing to avoid. */
const COSTLY_MS = 2;
const COSTLY_RUNS = 5;

type Numbers = Exclude<Tensor['data'], string[]>;

/**
 * Keeps the number of rows of a session's runs from changing, where a change is expensive: on a GPU cuDNN plans every convolution anew
 * for another shape (an EfficientNet stops for 0.7 s), and ONNX Runtime keeps only the last plan. So a smaller batch is filled up with
 * copies of its last row to as many rows as the runs before it had, a power of two, and the answers of the copies are cut off again.
 * Once such runs have wasted as much time on copies as a change takes, they become smaller, so that neither outweighs the other.
 */
export class SteadyRows {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** Milliseconds that the last change took, because changes to many rows take longer; 0: changes need not be avoided. */
  #changeMs = 0;
  /** What runs have now. */
  #rows = 1;
  /** Since a run last had use for more than half of its rows: the most that one had use for, and the time spent on copies. */
  #peak = 1;
  #wastedMs = 0;
  readonly #memory = new Map<string, Numbers>();

  /**
   * @param most rows of the largest batch; a request that brings more rows runs as it is
   * @param now milliseconds of a clock that never goes back
   */
  constructor(
    private readonly session: Pick<OnnxSession, 'inputs' | 'outputs' | 'run'>,
    private readonly most: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.inputs = session.inputs;
    this.outputs = session.outputs;
  }

  /**
   * Finds out with three runs whether a change is expensive; until then, and when it is not, runs are as they come.
   * @param sample inputs of one row that the session has taken already
   */
  learn(sample: Tensors): void {
    const hasRows = [...this.inputs, ...this.outputs].every(({ shape }) => typeof shape[0] === 'string');
    if (this.most < 2 || !hasRows || rowsOf(sample) !== 1) return;
    const timed = (inputs: Tensors) => {
      const start = this.now();
      this.session.run(inputs);
      return this.now() - start;
    };
    try {
      // The first run of a size loads kernels as well: what is timed is the way back to a size that has run before.
      timed(this.#fill(sample, 1, 2));
      const change = timed(sample);
      const same = timed(sample);
      if (change > COSTLY_MS && change > COSTLY_RUNS * same) this.#changeMs = change;
    } catch {
      // It does not take made-up batches, which says nothing about real ones.
    }
  }

  /** True: a change is expensive, as far as is known. */
  get isSteady(): boolean {
    return this.#changeMs > 0;
  }

  run(inputs: Tensors): Tensors {
    const given = this.isSteady ? rowsOf(inputs) : undefined;
    if (given === undefined || given < 1 || given > this.most) return this.session.run(inputs);
    const before = this.#rows;
    if (given > before / 2) {
      this.#setRows(Math.max(before, this.#rounded(given)));
    } else {
      this.#peak = Math.max(this.#peak, given);
      if (this.#wastedMs > this.#changeMs) this.#setRows(this.#rounded(this.#peak));
    }
    const start = this.now();
    const outputs = this.session.run(given === this.#rows ? inputs : this.#fill(inputs, given, this.#rows));
    const tookMs = this.now() - start;
    if (this.#rows !== before) this.#changeMs = tookMs;
    else if (given <= this.#rows / 2) this.#wastedMs += tookMs * (1 - given / this.#rows);
    if (given === this.#rows) return outputs;
    if (rowsOf(outputs) === this.#rows) return firstRows(outputs, given);
    // It has no row for each row of its inputs after all.
    this.#changeMs = 0;
    return this.session.run(inputs);
  }

  /** From here on, runs have had no room to spare. */
  #setRows(rows: number): void {
    this.#rows = rows;
    this.#peak = 1;
    this.#wastedMs = 0;
  }

  #rounded(rows: number): number {
    return Math.min(this.most, 2 ** Math.ceil(Math.log2(rows)));
  }

  #fill(inputs: Tensors, given: number, rows: number): Tensors {
    return Object.fromEntries(
      Object.entries(inputs).map(([name, { dtype, shape, data }]) => {
        const filledShape = [rows, ...shape.slice(1)];
        const size = data.length / given;
        if (dtype === 'string') {
          const last = (data as string[]).slice(-size);
          const copies = Array.from({ length: rows - given }, () => last);
          return [name, { dtype, shape: filledShape, data: [...(data as string[]), ...copies.flat()] }];
        }
        const filled = this.#memoryOf(name, arrayTypeOf(dtype), size * rows);
        filled.set(data as never);
        const last = (data as Numbers).subarray(size * (given - 1));
        for (let row = given; row < rows; row++) filled.set(last as never, row * size);
        return [name, { dtype, shape: filledShape, data: filled }];
      }),
    );
  }

  /** The same for each run: fresh memory costs more than the copies. A run has read its inputs when it returns. */
  #memoryOf(name: string, type: ReturnType<typeof arrayTypeOf>, length: number): Numbers {
    const kept = this.#memory.get(name);
    if (kept?.length === length && kept instanceof type) return kept;
    const fresh = new type(length);
    this.#memory.set(name, fresh);
    return fresh;
  }
}

/** How many rows all of them have; `undefined` when they disagree. */
function rowsOf(tensors: Tensors): number | undefined {
  const counts = new Set(Object.values(tensors).map(({ shape }) => shape[0]));
  return counts.size === 1 ? [...counts][0] : undefined;
}

function firstRows(tensors: Tensors, rows: number): Tensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
      const [all = 1, ...rest] = shape;
      return [name, { dtype, shape: [rows, ...rest], data: data.slice(0, (data.length / all) * rows) }];
    }),
  );
}
