import type { ModelRef } from '#libs/common';
import type { MarlineMetrics, VersionSeries } from './marline-metrics.js';
import type { Series } from './metric-family.js';
import type { TorchServeMetrics } from './torchserve-metrics.js';

/** Model versions whose requests are counted. One more takes the place of those that are served no longer; while there are none it is not counted. */
export const MAX_VERSIONS = 1_000;
const DEFAULT = 'default';
const REQUESTS = 'ts_inference_requests_total';
const LATENCY = 'ts_inference_latency_microseconds';
const QUEUE = 'ts_queue_latency_microseconds';

/** TorchServe's counters of the requests for one version, by the name that callers gave it. */
export interface AskedSeries {
  readonly requests: Series;
  readonly latency: Series;
  readonly queue: Series;
}

/** All that is recorded for one model version. */
export interface VersionMeters {
  readonly own: VersionSeries;
  /** Of requests that named the version. */
  readonly named: AskedSeries;
  /** Of requests that took the default version. */
  readonly unnamed: AskedSeries;
  readonly handlerTime: Series;
  readonly predictionTime: Series;
}

/** Looks up where the values of a model version go; models come and go for as long as the server runs, so that the number is bounded. */
export class VersionMetersByRef {
  readonly #byName = new Map<string, { readonly ref: ModelRef; readonly meters: VersionMeters }>();
  readonly #byRef = new WeakMap<ModelRef, VersionMeters | null>();
  #last: readonly [ModelRef, VersionMeters | null] | undefined;

  constructor(
    private readonly torchServe: TorchServeMetrics,
    private readonly marline: MarlineMetrics,
  ) {}

  /** @param ref the same object for every event of a registered version */
  of(ref: ModelRef): VersionMeters | null {
    if (this.#last?.[0] === ref) return this.#last[1];
    let meters = this.#byRef.get(ref);
    if (meters === undefined) {
      meters = this.#find(ref);
      this.#byRef.set(ref, meters);
    }
    this.#last = [ref, meters];
    return meters;
  }

  #find(ref: ModelRef): VersionMeters | null {
    const key = keyOf(ref);
    const found = this.#byName.get(key);
    if (found !== undefined) return found.meters;
    if (this.#byName.size >= MAX_VERSIONS) this.#forgetGone();
    const own = this.#byName.size < MAX_VERSIONS ? this.marline.version(ref) : undefined;
    if (own === undefined) return null;
    const meters: VersionMeters = {
      own,
      named: this.#asked(ref.model, ref.version),
      unnamed: this.#asked(ref.model, DEFAULT),
      handlerTime: this.torchServe.model('HandlerTime', [ref.model, 'Model']),
      predictionTime: this.torchServe.model('PredictionTime', [ref.model, 'Model']),
    };
    this.#byName.set(key, { ref, meters });
    return meters;
  }

  #asked(model: string, version: string): AskedSeries {
    const series = (name: string) => this.torchServe.server(name, [model, version]);
    return { requests: series(REQUESTS), latency: series(LATENCY), queue: series(QUEUE) };
  }

  #forgetGone(): void {
    const served = this.marline.models?.all() ?? [];
    const versions = new Set(served.map(({ name, version }) => keyOf({ model: name, version })));
    const models = new Set(served.map(({ name }) => name));
    for (const [key, { ref }] of this.#byName) {
      if (versions.has(key)) continue;
      this.#byName.delete(key);
      this.marline.forget(ref);
      const labels = models.has(ref.model) ? [ref.model, ref.version] : [ref.model];
      for (const name of [REQUESTS, LATENCY, QUEUE]) this.torchServe.forget(name, labels);
    }
  }
}

function keyOf({ model, version }: ModelRef): string {
  return JSON.stringify([model, version]);
}
