import type { HandlerMetric } from '#libs/common';
import type { LeftOut } from './left-out.js';
import {
  HOSTNAME_LABEL,
  whyNotAMetric,
  type MetricDefinition,
  type MetricsConfig,
} from './metric-definition.js';
import { MAX_LABEL_LENGTH, MAX_SERIES, MetricFamily, type Series } from './metric-family.js';
import { metricLine } from './metric-line.js';

/** TorchServe's `metrics_mode`: which metrics are written to the log and which are kept for `/metrics`. */
export type MetricsMode = 'log' | 'prometheus' | 'legacy';

/** Most metrics that handlers can add by reporting them. */
export const MAX_DETECTED = 200;
/** What the mode `legacy` keeps for `/metrics`. */
const LEGACY = [
  'ts_inference_requests_total',
  'ts_inference_latency_microseconds',
  'ts_queue_latency_microseconds',
];

/** Where TorchServe's metrics go. */
export interface TorchServeMetricsOptions {
  readonly config: MetricsConfig;
  readonly mode: MetricsMode;
  /** True: a handler's metric that the configuration does not name is made from its first value. */
  readonly autoDetect: boolean;
  readonly hostname: string;
  /** Puts a metric into the registry. @returns false when its name is taken */
  readonly register: (family: MetricFamily) => boolean;
  /** Takes a line of the mode `log`. */
  readonly log: { readonly server: (line: string) => void; readonly model: (line: string) => void };
  readonly leftOut: LeftOut;
}

interface Kept {
  readonly definition: MetricDefinition;
  /** Absent when the metric is written to the log. */
  readonly family?: MetricFamily;
}

const NOBODY: Series = { record: () => {} };

/** TorchServe's metrics, those that its `metrics.yaml` names and no other, in the registry or as lines of the log. */
export class TorchServeMetrics {
  readonly #options: TorchServeMetricsOptions;
  readonly #server = new Map<string, Kept>();
  readonly #model = new Map<string, Kept>();
  #detected = 0;
  /** Metrics of the configuration whose names the registry has already. */
  readonly taken: string[] = [];

  constructor(options: TorchServeMetricsOptions) {
    this.#options = options;
    const { config, mode } = options;
    for (const definition of config.server) {
      const isLegacy = mode === 'legacy' && LEGACY.includes(definition.name);
      this.#add(this.#server, definition, mode === 'prometheus' || isLegacy);
    }
    for (const definition of config.model) this.#add(this.#model, definition, mode === 'prometheus');
  }

  /**
   * Where values of one of the server's metrics go; nowhere when the configuration does not have it, or not with so many labels.
   * @param values of its labels but the host's name, in their order
   */
  server(name: string, values: readonly string[]): Series {
    const { log } = this.#options;
    return this.#bound(this.#server.get(name), values, (definition, all, value) =>
      log.server(metricLine(definition, all, value)),
    );
  }

  /** {@link TorchServeMetrics.server} for one of the metrics of handlers. */
  model(name: string, values: readonly string[]): Series {
    const { log } = this.#options;
    return this.#bound(this.#model.get(name), values, (definition, all, value) =>
      log.model(metricLine(definition, all, value, null)),
    );
  }

  /** Forgets the series of one of the server's metrics whose first labels have these values. */
  forget(name: string, values: readonly string[]): void {
    this.#server.get(name)?.family?.remove(values);
  }

  /** Takes a value that a handler reports. The configuration's type and unit count, where it has them. */
  handler(metric: HandlerMetric): void {
    const { name, value, dimensions, requestIds } = metric;
    const kept = this.#model.get(name) ?? this.#detect(metric);
    if (kept === undefined) return;
    const { definition, family } = kept;
    const values = [...Object.values(dimensions), this.#options.hostname];
    if (!this.#fits(definition, values)) return;
    if (definition.type === 'counter' && value < 0) {
      this.#options.leftOut.add('invalid', name, `a counter cannot grow by ${value}.`);
    } else if (family === undefined) {
      this.#options.log.model(metricLine(definition, values, value, requestIds ?? null));
    } else {
      this.#series(family, values)?.record(value);
    }
  }

  #bound(
    kept: Kept | undefined,
    values: readonly string[],
    write: (definition: MetricDefinition, values: readonly string[], value: number) => void,
  ): Series {
    if (kept === undefined) return NOBODY;
    const { definition, family } = kept;
    const all = [...values, this.#options.hostname];
    if (!this.#fits(definition, all)) return NOBODY;
    if (family !== undefined) return this.#series(family, all) ?? NOBODY;
    return { record: (value) => write(definition, all, value) };
  }

  #add(metrics: Map<string, Kept>, definition: MetricDefinition, inRegistry: boolean): void {
    const kept = this.#keep(definition, inRegistry);
    if (kept === undefined) this.taken.push(definition.name);
    else metrics.set(definition.name, kept);
  }

  /** @returns nothing when the registry has a metric of that name */
  #keep(definition: MetricDefinition, inRegistry: boolean): Kept | undefined {
    if (!inRegistry) return { definition };
    const { name, type, unit, labels } = definition;
    const help = `Torchserve prometheus ${type} metric with unit: ${unit}`;
    const family = new MetricFamily({ name, type, labels, help, hidesUnused: true });
    return this.#options.register(family) ? { definition, family } : undefined;
  }

  #detect({ name, type, unit, dimensions }: HandlerMetric): Kept | undefined {
    const { autoDetect, leftOut, mode } = this.#options;
    if (!autoDetect) return undefined;
    if (this.#detected >= MAX_DETECTED) {
      leftOut.add('too_many_names', name, `handlers have reported ${MAX_DETECTED} others already.`);
      return undefined;
    }
    const definition = { name, type, unit, labels: [...Object.keys(dimensions), HOSTNAME_LABEL] };
    const wrong = whyNotAMetric(definition);
    const kept = wrong === undefined ? this.#keep(definition, mode === 'prometheus') : undefined;
    if (kept === undefined) {
      leftOut.add('invalid', name, `${wrong ?? 'the registry has another metric of that name'}.`);
      return undefined;
    }
    this.#detected += 1;
    this.#model.set(name, kept);
    return kept;
  }

  #fits({ name, labels }: MetricDefinition, values: readonly string[]): boolean {
    if (labels.length === values.length) return true;
    const why = `it has the labels ${labels.join(', ')}, and came with ${values.length - 1} values beside the host's name.`;
    this.#options.leftOut.add('labels', name, why);
    return false;
  }

  #series(family: MetricFamily, values: readonly string[]): Series | undefined {
    const series = family.series(values);
    if (series === undefined)
      this.#options.leftOut.add(
        'too_many_series',
        family.name,
        `${MAX_SERIES} combinations of labels are kept, and labels of up to ${MAX_LABEL_LENGTH} characters.`,
      );
    return series;
  }
}
