import { MarlineError } from '#libs/common';
import type { ModelRuntime } from './model-runtime.js';
import { TrafficSplit, type TrafficWeights } from './traffic-split.js';

/** The id of a request's sequence, or the fields of its head (names and values in turn), which may have one. */
export type SequenceHint = string | readonly string[] | undefined;

type Versions = ReadonlyMap<string, ModelRuntime>;

/** How the requests that name no version are split between the versions of models; most models are not split. */
export class Traffic {
  readonly #splits = new Map<string, TrafficSplit>();

  /** @param sequenceIdHeader the name of the field with the id of a sequence, in the letter case that counts */
  constructor(private readonly sequenceIdHeader: string) {}

  /**
   * @param weights `undefined` ends the split
   * @throws MarlineError `BAD_REQUEST`, `MODEL_VERSION_NOT_FOUND`
   */
  set(model: string, weights: TrafficWeights | undefined, versions: Versions): void {
    if (weights === undefined) {
      this.#splits.delete(model);
      return;
    }
    const split = new TrafficSplit(weights);
    for (const version of split.weights.keys())
      if (!versions.has(version)) throw new MarlineError('MODEL_VERSION_NOT_FOUND', { model, version });
    this.#splits.set(model, split);
  }

  /** The one question that every request asks. */
  isSplit(model: string): boolean {
    return this.#splits.size > 0 && this.#splits.has(model);
  }

  /** The weights of a model; `undefined` when it is not split. */
  of(model: string): TrafficWeights | undefined {
    const weights = this.#splits.get(model)?.weights;
    return weights && Object.fromEntries(weights);
  }

  /**
   * The version that answers the next request; `undefined` when the model is not split, or none of its versions can answer. A request
   * of a sequence goes where the ones before it went, also when that version gets no new ones any more.
   * @param drawn the version that this request was given before; given again as long as it can answer
   */
  next(
    model: string,
    versions: Versions,
    sequence: SequenceHint,
    drawn: ModelRuntime | undefined,
  ): ModelRuntime | undefined {
    const split = this.#splits.get(model);
    if (split === undefined) return undefined;
    const known = this.#whoKnows(sequence, versions);
    if (known !== undefined) return known;
    if (drawn?.canAnswer === true) return drawn;
    const version = split.next((each) => versions.get(each)?.canAnswer === true);
    return version === undefined ? undefined : versions.get(version);
  }

  /** @throws MarlineError `VERSION_TAKES_TRAFFIC` when requests that name no version go to this one */
  assertFree(model: string, version: string): void {
    const weight = this.#splits.get(model)?.weights.get(version) ?? 0;
    if (weight > 0) throw new MarlineError('VERSION_TAKES_TRAFFIC', { model, version });
  }

  /** A version takes the place of another, with its weight. */
  replace(model: string, old: string, version: string): void {
    const { [old]: weight, ...others } = this.of(model) ?? {};
    if (weight !== undefined) this.#splits.set(model, new TrafficSplit({ ...others, [version]: weight }));
  }

  /** A version is gone, and what is left of the split stays; nothing is left of one that gave requests to no other. */
  forget(model: string, version: string): void {
    const { [version]: weight, ...others } = this.of(model) ?? {};
    if (weight === undefined) return;
    if (Object.values(others).some((each) => each > 0)) this.#splits.set(model, new TrafficSplit(others));
    else this.#splits.delete(model);
  }

  #whoKnows(sequence: SequenceHint, versions: Versions): ModelRuntime | undefined {
    if (sequence === undefined) return undefined;
    const stateful = [...versions.values()].filter((runtime) => runtime.servesSequences);
    if (stateful.length === 0) return undefined;
    const id = typeof sequence === 'string' ? sequence : this.#idIn(sequence);
    return id === undefined ? undefined : stateful.find((runtime) => runtime.knows(id));
  }

  /** The last field of this name counts, as everywhere. */
  #idIn(fields: readonly string[]): string | undefined {
    for (let at = fields.length - 2; at >= 0; at -= 2)
      if (fields[at] === this.sequenceIdHeader) return fields[at + 1];
    return undefined;
  }
}
