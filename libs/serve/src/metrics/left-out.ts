import type { MetricFamily } from './metric-family.js';

/** Why a value is not kept. */
export type LeftOutReason = 'invalid' | 'labels' | 'too_many_names' | 'too_many_series';

/** Warnings about single metrics; a handler can invent more. */
const MOST_WARNINGS = 100;

/** Counts the values that are not kept, and warns once of each metric: a handler may report the same one a thousand times a second. */
export class LeftOut {
  readonly #warned = new Set<string>();

  constructor(
    private readonly family: MetricFamily,
    private readonly warn: (message: string) => void,
  ) {}

  /** @param why says what is wrong with the metric `name` */
  add(reason: LeftOutReason, name: string, why: string): void {
    this.family.series([reason])?.record(1);
    if (this.#warned.size >= MOST_WARNINGS || this.#warned.has(`${reason} ${name}`)) return;
    this.#warned.add(`${reason} ${name}`);
    this.warn(`Values of the metric ${JSON.stringify(name.slice(0, 100))} are left out: ${why} (told once)`);
  }
}
