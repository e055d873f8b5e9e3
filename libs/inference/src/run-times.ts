/** What one observation still counts after the next one; 0.98 remembers about fifty runs. */
const MEMORY = 0.98;
/** Before so many runs nothing is predicted: the first ones warm caches. */
const FEWEST_RUNS = 5;
/** A run that took this many times as long as predicted was interrupted, and counts as this many times. */
const LARGEST_SURPRISE = 4;
/** Below this variance of the batch size there is nothing to fit a line to. */
const LEAST_SPREAD = 0.05;

/**
 * How long runs of a model take on one kind of device, learned from the runs themselves: `duration = a·n + b` for a batch
 * of n items, by least squares over the last runs, each counting less than the one after it.
 */
export class RunTimes {
  #runs = 0;
  // Weighted sums of 1, n, n², duration and n·duration.
  #one = 0;
  #n = 0;
  #nn = 0;
  #d = 0;
  #nd = 0;
  #missed = 0;
  #perItem = 0;
  #perRun = 0;

  /** A run of `items` took `durationMs`. */
  observe(items: number, durationMs: number): void {
    if (items <= 0 || !(durationMs >= 0)) return;
    const expected = this.predict(items);
    const duration =
      expected === undefined ? durationMs : Math.min(durationMs, LARGEST_SURPRISE * Math.max(expected, 0.01));
    if (expected !== undefined)
      this.#missed = this.#missed * MEMORY + Math.abs(duration / Math.max(expected, 0.01) - 1) * (1 - MEMORY);
    this.#runs++;
    this.#one = this.#one * MEMORY + 1;
    this.#n = this.#n * MEMORY + items;
    this.#nn = this.#nn * MEMORY + items * items;
    this.#d = this.#d * MEMORY + duration;
    this.#nd = this.#nd * MEMORY + items * duration;
    this.#fit();
  }

  /** Milliseconds that a run of `items` will take; `undefined` before enough runs were seen. */
  predict(items: number): number | undefined {
    return this.#runs < FEWEST_RUNS ? undefined : this.#perItem * items + this.#perRun;
  }

  /** Milliseconds that the last runs took on average, whatever their size; `undefined` before enough were seen. */
  get typical(): number | undefined {
    return this.#runs < FEWEST_RUNS ? undefined : this.#d / this.#one;
  }

  /** By which part of the prediction a run misses it, on average: 0 for runs that are all alike. */
  get scatter(): number {
    return this.#missed;
  }

  #fit(): void {
    const meanN = this.#n / this.#one;
    const meanD = this.#d / this.#one;
    const variance = this.#nn / this.#one - meanN * meanN;
    const slope = variance < LEAST_SPREAD ? -1 : (this.#nd / this.#one - meanN * meanD) / variance;
    // A line through noise may slope down or start below zero; time does neither.
    if (slope <= 0 && variance >= LEAST_SPREAD) [this.#perItem, this.#perRun] = [0, meanD];
    else if (slope <= 0 || slope * meanN > meanD) [this.#perItem, this.#perRun] = [meanD / meanN, 0];
    else [this.#perItem, this.#perRun] = [slope, meanD - slope * meanN];
  }
}
