import { MarlineError } from '#libs/common';

/** How many requests each version gets, in relation to the others; by version. @publicApi */
export type TrafficWeights = Readonly<Record<string, number>>;

const MOST_VERSIONS = 100;
const LARGEST_WEIGHT = 1_000_000;
/** What adding and taking away shares may be wrong by. */
const ROUNDING = 1e-9;

/** True for a number that a version may have as its weight. */
export function isWeight(weight: unknown): weight is number {
  return typeof weight === 'number' && weight >= 0 && weight <= LARGEST_WEIGHT;
}

/** What is wrong with weights, and what to give instead; `undefined` when nothing is. */
export function weightsProblem(weights: unknown): string | undefined {
  const example = 'such as {"1.0": 90, "2.0": 10}';
  if (typeof weights !== 'object' || weights === null || Array.isArray(weights))
    return `Give an object with a weight for each version, ${example}.`;
  const given = Object.entries(weights as Readonly<Record<string, unknown>>);
  if (given.length === 0)
    return `There are no weights: give one for each version, ${example}, or end the split with DELETE.`;
  if (given.length > MOST_VERSIONS)
    return `There are ${given.length} weights; give at most ${MOST_VERSIONS}, and leave out the versions that get nothing.`;
  for (const [version, weight] of given)
    if (!isWeight(weight))
      return `The weight of version ${version} is ${JSON.stringify(weight) ?? typeof weight}: give a number from 0 to ${LARGEST_WEIGHT}.`;
  return given.every(([, weight]) => weight === 0)
    ? 'All weights are 0: give one version at least a weight above 0, or end the split with DELETE.'
    : undefined;
}

/**
 * Whose turn it is, so that after any number of turns each version had its share, give or take less than one turn: R. Tijdeman,
 * "The chairman assignment problem", 1980. Nothing is left to chance, so a short test is as exact as a long one.
 */
export class TrafficSplit {
  readonly weights: ReadonlyMap<string, number>;
  /** Turns that each version with a weight is behind its share. */
  readonly #behind = new Map<string, number>();

  /** @throws MarlineError `BAD_REQUEST` for weights that are none */
  constructor(weights: TrafficWeights) {
    const reason = weightsProblem(weights);
    if (reason !== undefined) throw new MarlineError('BAD_REQUEST', { reason });
    this.weights = new Map(Object.entries(weights));
    for (const [version, weight] of this.weights) if (weight > 0) this.#behind.set(version, 0);
  }

  /**
   * The version whose turn it is; `undefined` when none can take it.
   * @param isOpen false: the others share what this version would get
   */
  next(isOpen: (version: string) => boolean): string | undefined {
    const open = [...this.#behind.keys()].filter(isOpen);
    const sum = open.reduce((total, version) => total + this.#weight(version), 0);
    const slack = 1 / (2 * Math.max(2, open.length) - 2);
    let chosen: string | undefined;
    let soonest = Infinity;
    for (const version of open) {
      const share = this.#weight(version) / sum;
      const behind = (this.#behind.get(version) ?? 0) + share;
      this.#behind.set(version, behind);
      // Turns until it would be behind by too much, of those that may have one now without getting ahead by too much.
      const due = (1 - slack - behind) / share + (behind < slack - ROUNDING ? Number.MAX_VALUE : 0);
      if (chosen !== undefined && due >= soonest) continue;
      chosen = version;
      soonest = due;
    }
    if (chosen !== undefined) this.#behind.set(chosen, (this.#behind.get(chosen) ?? 0) - 1);
    return chosen;
  }

  #weight(version: string): number {
    return this.weights.get(version) ?? 0;
  }
}
