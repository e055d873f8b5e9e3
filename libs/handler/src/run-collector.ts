import type { Tensors } from '#libs/common';
import type { ModelBinding } from './handler-context.js';
import { isRefusedItem } from './handler-errors.js';
import { isStackable, rowCount, split, stack, stackingKey } from './stacking.js';

interface Waiting {
  readonly member: object;
  inputs: Tensors;
  readonly resolve: (outputs: Tensors) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Makes few large runs of the many small ones that the items of a batch ask for. Runs are held until every member that
 * still has work to do waits for one; then those whose shapes agree are stacked into a single run and split again.
 * Members come through as often as they like, so hooks of any form batch.
 */
export class RunCollector {
  #members: number;
  #waiting: Waiting[] = [];
  #flushing = false;

  /**
   * @param members how many members there are; each must {@link leave} in the end
   * @param pad makes shapes agree before they are compared
   */
  constructor(
    members: number,
    private readonly binding: ModelBinding,
    private readonly pad?: (items: readonly Tensors[]) => readonly Tensors[],
  ) {
    this.#members = members;
  }

  run(member: object, inputs: Tensors): Promise<Tensors> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ member, inputs, resolve, reject });
      this.#check();
    });
  }

  /** A member has its answer and asks for no more runs; what it still waits for is given up. */
  leave(member: object): void {
    this.#members--;
    for (const run of this.#waiting.filter((run) => run.member === member)) {
      run.reject(new Error('The request was answered before this run of the model began.'));
    }
    this.#waiting = this.#waiting.filter((run) => run.member !== member);
    this.#check();
  }

  #check(): void {
    if (this.#flushing || this.#waiting.length === 0) return;
    if (new Set(this.#waiting.map((run) => run.member)).size < this.#members) return;
    this.#flushing = true;
    const runs = this.#waiting;
    this.#waiting = [];
    void this.#flush(runs).finally(() => {
      this.#flushing = false;
      this.#check();
    });
  }

  async #flush(runs: readonly Waiting[]): Promise<void> {
    try {
      this.#padAll(runs);
      for (const bucket of this.#buckets(runs)) await this.#runBucket(bucket);
    } catch (error) {
      for (const run of runs) run.reject(error);
    }
  }

  #padAll(runs: readonly Waiting[]): void {
    if (this.pad === undefined || runs.length === 1 || !isStackable(this.binding.inputs)) return;
    const padded = this.pad(runs.map((run) => run.inputs));
    if (padded.length !== runs.length) {
      throw new TypeError(`pad returned ${padded.length} items for ${runs.length}.`);
    }
    for (const [index, run] of runs.entries()) run.inputs = padded[index] ?? run.inputs;
  }

  #buckets(runs: readonly Waiting[]): Iterable<readonly Waiting[]> {
    const buckets = new Map<unknown, Waiting[]>();
    const stackable = runs.length > 1 && isStackable(this.binding.inputs);
    for (const run of runs) {
      // A run that cannot share is its own key.
      const key = (stackable ? stackingKey(run.inputs) : undefined) ?? run;
      const bucket = buckets.get(key);
      if (bucket === undefined) buckets.set(key, [run]);
      else bucket.push(run);
    }
    return buckets.values();
  }

  async #runBucket(bucket: readonly Waiting[]): Promise<void> {
    try {
      const [only] = bucket;
      if (bucket.length === 1 && only !== undefined) {
        only.resolve(await this.binding.run(only.inputs));
        return;
      }
      const rows = bucket.map((run) => rowCount(run.inputs) ?? 0);
      const outputs = split(await this.binding.run(stack(bucket.map((run) => run.inputs))), rows);
      for (const [index, run] of bucket.entries()) run.resolve(outputs[index] ?? {});
    } catch (error) {
      if (bucket.length > 1 && isRefusedItem(error)) {
        // The model itself refused one of the items (an index out of range, say): alone, the others still succeed.
        for (const run of bucket) await this.#runBucket([run]);
        return;
      }
      for (const run of bucket) run.reject(error);
    }
  }
}
