/** Runs of a size before it is judged. */
const FEWEST_RUNS = 5;
/** A larger size must cost this much less per item: within the noise the smaller one answers sooner. */
const WORTHWHILE = 0.9;
/** Runs after which a larger size that was not worthwhile gets another chance, and a smaller one, because load and inputs change. */
const RETRY_AFTER_RUNS = 1000;
/** How much a new run moves the average of its size, once there are enough for one. */
const WEIGHT = 0.15;

interface Size {
  readonly items: number;
  runs: number;
  perItemMs: number;
  /** Runs of all sizes when this one was last judged. */
  judgedAt: number;
}

/**
 * Learns which batch size is worth forming. It climbs: the next larger power of two is tried when so many requests wait, and
 * kept when it costs clearly less per item. Many models gain nothing on a CPU, and for those it stays at 1. Now and then the next
 * smaller one is tried, which under a steady load would never come by itself.
 */
export class BatchSizer {
  readonly #sizes: Size[] = [];
  #best = 0;
  #runs = 0;
  /** Runs of all sizes when the best size was last compared with the next smaller one. */
  #comparedAt = 0;

  /** Most items that the next batch should have, up to `most`. */
  limit(most: number): number {
    const best = this.#size(this.#best);
    if (best.runs < FEWEST_RUNS) return Math.min(most, best.items);
    const smaller = this.#sizes[this.#best - 1];
    if (smaller !== undefined && this.#isDue(smaller, this.#comparedAt)) return Math.min(most, smaller.items);
    const next = this.#size(this.#best + 1);
    return Math.min(most, this.#isDue(next, next.judgedAt) ? next.items : best.items);
  }

  /** A run of `items` took `durationMs`. */
  observe(items: number, durationMs: number): void {
    if (items < 1) return;
    this.#runs++;
    const index = Math.floor(Math.log2(items));
    const size = this.#size(index);
    const perItemMs = durationMs / items;
    size.runs++;
    // The first run of a size takes memory that later ones find there: it stands for nothing once there is a second.
    size.perItemMs += Math.max(1 / Math.max(1, size.runs - 1), WEIGHT) * (perItemMs - size.perItemMs);
    if (index === this.#best + 1) this.#judge(size);
    else if (index === this.#best - 1) this.#stepDown(size);
  }

  /** True while a size is being tried. What it cost the last time does not count any more. */
  #isDue(size: Size, triedAt: number): boolean {
    if (size.runs >= FEWEST_RUNS && this.#runs - triedAt > RETRY_AFTER_RUNS) size.runs = 0;
    return size.runs < FEWEST_RUNS;
  }

  #judge(next: Size): void {
    if (next.runs < FEWEST_RUNS) return;
    next.judgedAt = this.#runs;
    if (next.perItemMs >= WORTHWHILE * this.#size(this.#best).perItemMs) return;
    this.#best++;
    this.#comparedAt = this.#runs;
  }

  /** Small batches come by themselves, too, when little waits. */
  #stepDown(smaller: Size): void {
    const best = this.#size(this.#best);
    if (smaller.runs < FEWEST_RUNS || best.runs < FEWEST_RUNS) return;
    this.#comparedAt = this.#runs;
    if (smaller.perItemMs > best.perItemMs) return;
    best.judgedAt = this.#runs;
    this.#best--;
  }

  #size(index: number): Size {
    while (this.#sizes.length <= index)
      this.#sizes.push({ items: 2 ** this.#sizes.length, runs: 0, perItemMs: 0, judgedAt: 0 });
    return this.#sizes[index] as Size;
  }
}
