/** Runs of a size before it is judged. */
const FEWEST_RUNS = 5;
/** A larger size must cost this much less per item: within the noise the smaller one answers sooner. */
const WORTHWHILE = 0.9;
/** Runs after which a larger size that was not worthwhile gets another chance, because load and inputs change. */
const RETRY_AFTER_RUNS = 1000;
/** How much a new run moves the average of its size. */
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
 * kept when it costs clearly less per item. Many models gain nothing on a CPU, and for those it stays at 1.
 */
export class BatchSizer {
  readonly #sizes: Size[] = [];
  #best = 0;
  #runs = 0;

  /** Most items that the next batch should have, up to `most`. */
  limit(most: number): number {
    const best = this.#size(this.#best);
    if (best.runs < FEWEST_RUNS) return Math.min(most, best.items);
    const next = this.#size(this.#best + 1);
    const isOpen = next.runs < FEWEST_RUNS || this.#runs - next.judgedAt > RETRY_AFTER_RUNS;
    return Math.min(most, isOpen ? next.items : best.items);
  }

  /** A run of `items` took `durationMs`. */
  observe(items: number, durationMs: number): void {
    if (items < 1) return;
    this.#runs++;
    const index = Math.floor(Math.log2(items));
    const size = this.#size(index);
    const perItemMs = durationMs / items;
    size.runs++;
    size.perItemMs = size.runs === 1 ? perItemMs : size.perItemMs + WEIGHT * (perItemMs - size.perItemMs);
    if (index === this.#best + 1) this.#judge(size);
    else if (index <= this.#best) this.#stepDown();
  }

  #judge(next: Size): void {
    if (next.runs < FEWEST_RUNS) return;
    next.judgedAt = this.#runs;
    if (next.perItemMs < WORTHWHILE * this.#size(this.#best).perItemMs) this.#best++;
  }

  /** Small batches come by themselves when little waits, and tell when the large ones have lost their advantage. */
  #stepDown(): void {
    const [smaller, best] = [this.#sizes[this.#best - 1], this.#size(this.#best)];
    if (smaller === undefined || smaller.runs < FEWEST_RUNS || best.runs < FEWEST_RUNS) return;
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
