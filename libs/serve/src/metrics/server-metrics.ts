import { hostname } from 'node:os';
import type { LoggerService } from '@nestjs/common';
import { Registry } from 'prom-client';
import { MarlineError, messageOf, type InferenceObserver } from '#libs/common';
import type { ModelRegistry } from '#libs/inference';
import { Families } from './families.js';
import { LeftOut } from './left-out.js';
import { MarlineMetrics } from './marline-metrics.js';
import { readMetricsConfig } from './metrics-config.js';
import { TORCHSERVE_METRICS, type MetricsConfig } from './metric-definition.js';
import { MetricFamily } from './metric-family.js';
import { MeteringObserver } from './metering-observer.js';
import { SystemMetrics } from './system-metrics.js';
import { TorchServeMetrics, type MetricsMode } from './torchserve-metrics.js';
import { VersionMetersByRef } from './version-meters.js';

/** What the metrics need to know; the names are those of the module's options. */
export interface ServerMetricsOptions {
  readonly metricsMode: MetricsMode;
  /** Path of a `metrics.yaml`; empty for what TorchServe's own says. */
  readonly metricsConfig: string;
  readonly modelMetricsAutoDetect: boolean;
  readonly disableSystemMetrics: boolean;
  /** Seconds. */
  readonly metricTimeInterval: number;
  /** The application's, for Marline's metrics too. */
  readonly metricsRegistry?: Registry;
}

/** Where lines go and warnings. */
export interface MetricsLoggers {
  readonly server: Pick<LoggerService, 'log'>;
  readonly model: Pick<LoggerService, 'log'>;
  readonly own: Pick<LoggerService, 'warn' | 'error'>;
}

const NO_METRICS: MetricsConfig = { server: [], model: [] };

/** The metrics of one application: TorchServe's and Marline's own, what feeds them, and what reads them. */
export class ServerMetrics {
  readonly #families: Families;
  readonly #torchServe: TorchServeMetrics;
  readonly #marline = new MarlineMetrics();
  readonly #system: SystemMetrics | undefined;

  /**
   * A `metrics.yaml` that cannot be used leaves TorchServe's metrics out, as in TorchServe, and is an error in the log.
   * @throws MarlineError `OPTIONS_INVALID` when the registry has metrics of these names already
   */
  constructor(options: ServerMetricsOptions, loggers: MetricsLoggers) {
    const { metricsMode: mode, modelMetricsAutoDetect: autoDetect, metricsRegistry } = options;
    this.#families = new Families(metricsRegistry ?? new Registry());
    const dropped = new MetricFamily({
      name: 'marline_metrics_left_out_total',
      help: 'Values of metrics that were not kept.',
      type: 'counter',
      labels: ['reason'],
    });
    this.#torchServe = new TorchServeMetrics({
      config: configOf(options, loggers.own),
      mode,
      autoDetect,
      hostname: hostname(),
      register: (family) => this.#families.add(family),
      log: { server: (line) => loggers.server.log(line), model: (line) => loggers.model.log(line) },
      leftOut: new LeftOut(dropped, (message) => loggers.own.warn(message)),
    });
    // In the mode `log` `/metrics` is empty, as TorchServe's.
    const own = mode === 'log' ? [] : [...this.#marline.families, dropped];
    const taken = [
      ...this.#torchServe.taken,
      ...own.filter((family) => !this.#families.add(family)).map(({ name }) => name),
    ];
    if (taken.length > 0) {
      this.close();
      throw new MarlineError('OPTIONS_INVALID', {
        reason: `metricsRegistry has metrics of these names already: ${taken.join(', ')}. Rename them, leave them out of metricsConfig, or give Marline a registry of its own.`,
      });
    }
    const { disableSystemMetrics, metricTimeInterval } = options;
    if (disableSystemMetrics) return;
    const record = (name: string, value: number, deviceId?: string) =>
      this.#torchServe.server(name, deviceId === undefined ? ['Host'] : ['Host', deviceId]).record(value);
    this.#system = new SystemMetrics(record, metricTimeInterval * 1000);
  }

  /** An observer that records what it is told, and tells `next`. */
  observer(next: InferenceObserver): InferenceObserver {
    const versions = new VersionMetersByRef(this.#torchServe, this.#marline);
    return new MeteringObserver(next, this.#torchServe, this.#marline, versions);
  }

  /** Counts answers by their status: 2XX, 4XX, and all else, also 3XX, as 5XX. */
  answerCounter(): (status: number) => void {
    const [ok, wrong, failed] = ['Requests2XX', 'Requests4XX', 'Requests5XX'].map((name) =>
      this.#torchServe.server(name, ['Host']),
    );
    return (status) => {
      if (status >= 200 && status < 300) ok?.record(1);
      else if (status >= 400 && status < 500) wrong?.record(1);
      else failed?.record(1);
    };
  }

  /** Looks at the machine from now on, and at these models whenever somebody reads. */
  start(models: Pick<ModelRegistry, 'all'>): void {
    this.#marline.models = models;
    this.#system?.start();
  }

  /** {@link Families.text} */
  text(names?: ReadonlySet<string>): Promise<string> {
    return this.#families.text(names);
  }

  /** Looks at nothing any more, and leaves the application's registry as it was. */
  close(): void {
    this.#system?.stop();
    this.#marline.close();
    this.#families.removeAll();
  }
}

function configOf(
  { metricsConfig }: ServerMetricsOptions,
  logger: Pick<LoggerService, 'error'>,
): MetricsConfig {
  if (metricsConfig === '') return TORCHSERVE_METRICS;
  try {
    return readMetricsConfig(metricsConfig);
  } catch (error) {
    logger.error(`There are no metrics of TorchServe's: ${messageOf(error)}`);
    return NO_METRICS;
  }
}
