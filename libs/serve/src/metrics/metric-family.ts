import type { Metric } from 'prom-client';
import type { MetricType } from './metric-definition.js';

/** Most series of one metric; what would be one more is not kept. */
export const MAX_SERIES = 5_000;
/** Longest value of a label that is kept. */
export const MAX_LABEL_LENGTH = 256;
/** The default buckets of TorchServe's client of Prometheus. */
const TORCHSERVE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** One metric with one value for each label. A request records a dozen of them, so this adds numbers up and does nothing else. */
export interface Series {
  /** Adds to a counter, sets a gauge, or observes a value of a histogram. Must be a finite number; for a counter, not below 0. */
  record(value: number): void;
}

/** How a {@link MetricFamily} is made. */
export interface FamilyOptions {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, in ascending order; TorchServe's by default. */
  readonly buckets?: readonly number[];
  /** True: a series is not shown before its first value. False by default: a counter that starts at 0 tells more than one that starts at 1. */
  readonly hidesUnused?: boolean;
  /** Called before the values are read: sets what is looked up only then. */
  readonly onRead?: (family: MetricFamily) => void;
}

/** One line of `/metrics`. */
interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** With the suffix of a histogram's parts; the metric's own name by default. */
  readonly metricName?: string;
}

/**
 * A metric that a registry of prom-client can hold. Its own classes look a series up by its labels for every value (0.4 µs and
 * more, a dozen times a request); here a series is looked up once and held by who records.
 */
export class MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  /** How prom-client joins the values of several processes. */
  readonly aggregator = 'sum';
  readonly #labels: readonly string[];
  readonly #buckets: readonly number[];
  readonly #hidesUnused: boolean;
  readonly #onRead: ((family: MetricFamily) => void) | undefined;
  readonly #series = new Map<string, Sampled>();

  constructor({
    name,
    help,
    type,
    labels,
    buckets = TORCHSERVE_BUCKETS,
    hidesUnused = false,
    onRead,
  }: FamilyOptions) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.#labels = labels;
    this.#buckets = buckets;
    this.#hidesUnused = hidesUnused;
    this.#onRead = onRead;
  }

  /**
   * The series with these values of the labels, in their order; made when it is not there yet.
   * @returns nothing when there are as many already as may be, or a value is longer than 256 characters
   */
  series(values: readonly string[]): Series | undefined {
    const key = keyOf(values);
    const found = this.#series.get(key);
    if (found !== undefined) return found;
    if (this.#series.size >= MAX_SERIES || values.some((value) => value.length > MAX_LABEL_LENGTH))
      return undefined;
    const labels = Object.fromEntries(this.#labels.map((label, index) => [label, values[index] ?? '']));
    const made =
      this.type === 'histogram' ? new Histogram(labels, this.#buckets) : new Cell(labels, this.type);
    this.#series.set(key, made);
    return made;
  }

  /** Forgets every series whose first labels have these values. */
  remove(first: readonly string[]): void {
    for (const [key, { labels }] of this.#series) {
      const values = Object.values(labels);
      if (first.every((value, index) => values[index] === value)) this.#series.delete(key);
    }
  }

  /** Forgets all series. Part of what prom-client's registries ask of a metric. */
  reset(): void {
    this.#series.clear();
  }

  /** What prom-client's registries print. */
  get(): Promise<
    Pick<MetricFamily, 'name' | 'help' | 'type' | 'aggregator'> & { readonly values: Sample[] }
  > {
    this.#onRead?.(this);
    const shown = [...this.#series.values()].filter(({ isUsed }) => isUsed || !this.#hidesUnused);
    const values = shown.flatMap((series) => series.samples(this.name));
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values });
  }

  /** For a registry: prom-client's typings know its own classes only, its code asks for no more than what is here. */
  get metric(): Metric {
    return this as unknown as Metric;
  }
}

interface Sampled extends Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly isUsed: boolean;
  samples(name: string): Sample[];
}

class Cell implements Sampled {
  isUsed = false;
  #value = 0;
  readonly #adds: boolean;

  constructor(
    readonly labels: Readonly<Record<string, string>>,
    type: MetricType,
  ) {
    this.#adds = type === 'counter';
  }

  record(value: number): void {
    this.isUsed = true;
    this.#value = this.#adds ? this.#value + value : value;
  }

  samples(): Sample[] {
    return [{ labels: this.labels, value: this.#value }];
  }
}

class Histogram implements Sampled {
  isUsed = false;
  /** By bucket, what is above the last one at the end. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(
    readonly labels: Readonly<Record<string, string>>,
    private readonly bounds: readonly number[],
  ) {
    this.#counts = new Float64Array(bounds.length + 1);
  }

  record(value: number): void {
    this.isUsed = true;
    const { bounds } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sum += value;
  }

  samples(name: string): Sample[] {
    const { labels, bounds } = this;
    let count = 0;
    const buckets = Array.from(this.#counts, (inBucket, index) => {
      count += inBucket;
      const bound = bounds[index];
      const le = bound === undefined ? '+Inf' : decimal(bound);
      return { labels: { ...labels, le }, value: count, metricName: `${name}_bucket` };
    });
    return [
      ...buckets,
      { labels, value: this.#sum, metricName: `${name}_sum` },
      { labels, value: count, metricName: `${name}_count` },
    ];
  }
}

/** A number as Java and Python write it: queries compare the label `le` as a text. */
export function decimal(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

function keyOf(values: readonly string[]): string {
  return values.length === 1 ? String(values[0]) : JSON.stringify(values);
}
