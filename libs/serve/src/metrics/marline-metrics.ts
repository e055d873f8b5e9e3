import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';
import type { ErrorCode, ModelRef } from '#libs/common';
import type { ModelRegistry, WorkerInfo } from '#libs/inference';
import type { MetricType } from './metric-definition.js';
import { MetricFamily, type FamilyOptions, type Series } from './metric-family.js';

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const SIZES = [1, 2, 4, 8, 16, 32, 64, 128];
const VERSION = ['model', 'version'];
const ONE_SECOND_NS = 1e9;
/** How often the event loop is looked at; what is measured is this and the delay. */
const LOOK_EVERY_MS = 10;
const QUANTILES = [0.5, 0.9, 0.99, 1];
/** What is refused before it costs anything; all other errors are failures. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'QUEUE_FULL',
  'OVERLOADED',
  'NO_WORKER',
  'SHUTTING_DOWN',
]);

/** What happens to the requests of one model version, in seconds. */
export interface VersionSeries {
  readonly requests: Series;
  readonly total: Series;
  readonly queue: Series;
  readonly batchWait: Series;
  readonly run: Series;
  readonly batchSize: Series;
  readonly preprocess: Series;
  readonly postprocess: Series;
  readonly wasted: Series;
}

/** Marline's own metrics, which TorchServe has nothing like: `marline_…`, in seconds and other base units. */
export class MarlineMetrics {
  readonly #byVersion: Readonly<Record<keyof VersionSeries, MetricFamily>> = {
    requests: counter('requests_total', 'Requests that reached a model.'),
    total: seconds('request_seconds', 'Time from a request to its answer, or to the first part of a stream.'),
    queue: seconds('queue_seconds', 'Time that a request waited for a worker.'),
    batchWait: seconds(
      'batch_wait_seconds',
      'The part of it in which an idle worker waited for the batch to fill.',
    ),
    run: seconds('run_seconds', 'Time that a worker spent on a run.'),
    batchSize: family('histogram', 'batch_size', 'Requests of a run.', { labels: VERSION, buckets: SIZES }),
    preprocess: seconds('preprocess_seconds', 'Time from the start of a run until the model was asked.'),
    postprocess: seconds('postprocess_seconds', 'Time from the answer of the model to the end of a run.'),
    wasted: counter('runs_wasted_total', 'Requests that were run for a caller who was gone.'),
  };
  readonly #refused = counter('requests_refused_total', 'Requests that were refused unseen.', ['code']);
  readonly #failed = counter('requests_failed_total', 'Requests that failed.', ['code']);
  readonly #loopDelay: IntervalHistogram = monitorEventLoopDelay({ resolution: LOOK_EVERY_MS });
  /** Where the workers and queues are looked up. */
  models: Pick<ModelRegistry, 'all'> | undefined;

  /** All of them, for a registry. */
  readonly families: readonly MetricFamily[];

  constructor() {
    this.#loopDelay.enable();
    this.families = [
      ...Object.values(this.#byVersion),
      this.#refused,
      this.#failed,
      gauge('workers', 'Workers by state.', [...VERSION, 'state'], (family) => this.#readWorkers(family)),
      gauge('queue_depth', 'Requests that wait.', VERSION, (family) => this.#readQueues(family)),
      gauge(
        'event_loop_delay_seconds',
        'How late the event loop was since the last time that this was read.',
        ['quantile'],
        (family) => this.#readLoopDelay(family),
      ),
    ];
  }

  /** @returns nothing when there are too many versions already */
  version({ model, version }: ModelRef): VersionSeries | undefined {
    const entries = Object.entries(this.#byVersion).map(
      ([name, family]) => [name, family.series([model, version])] as const,
    );
    if (entries.some(([, series]) => series === undefined)) return undefined;
    return Object.fromEntries(entries) as unknown as VersionSeries;
  }

  failed(ref: ModelRef, code: ErrorCode): void {
    const family = REFUSALS.has(code) ? this.#refused : this.#failed;
    family.series([ref.model, ref.version, code])?.record(1);
  }

  /** Forgets a version. */
  forget({ model, version }: ModelRef): void {
    for (const family of [...Object.values(this.#byVersion), this.#refused, this.#failed])
      family.remove([model, version]);
  }

  close(): void {
    this.#loopDelay.disable();
  }
  #readWorkers(family: MetricFamily): void {
    family.reset();
    for (const runtime of this.models?.all() ?? []) {
      const counts: Record<WorkerCondition, number> = { idle: 0, busy: 0, starting: 0, unavailable: 0 };
      for (const worker of runtime.workers()) counts[conditionOf(worker)] += 1;
      for (const [state, count] of Object.entries(counts))
        family.series([runtime.name, runtime.version, state])?.record(count);
    }
  }

  #readQueues(family: MetricFamily): void {
    family.reset();
    for (const runtime of this.models?.all() ?? [])
      family.series([runtime.name, runtime.version])?.record(runtime.queue().pendingRequests);
  }

  #readLoopDelay(family: MetricFamily): void {
    for (const quantile of QUANTILES) {
      const seconds = this.#loopDelay.percentile(quantile * 100) / ONE_SECOND_NS - LOOK_EVERY_MS / 1000;
      family.series([String(quantile)])?.record(Math.max(0, seconds));
    }
    this.#loopDelay.reset();
  }
}

type WorkerCondition = 'idle' | 'busy' | 'starting' | 'unavailable';

function conditionOf({ state }: WorkerInfo): WorkerCondition {
  if (state === 'idle' || state === 'busy') return state;
  return state === 'created' || state === 'starting' ? 'starting' : 'unavailable';
}

function counter(name: string, help: string, more: readonly string[] = []): MetricFamily {
  return family('counter', name, help, { labels: [...VERSION, ...more] });
}

function seconds(name: string, help: string): MetricFamily {
  return family('histogram', name, help, { labels: VERSION, buckets: SECONDS });
}

function gauge(
  name: string,
  help: string,
  labels: readonly string[],
  onRead: (family: MetricFamily) => void,
): MetricFamily {
  return family('gauge', name, help, { labels, onRead });
}

function family(
  type: MetricType,
  name: string,
  help: string,
  more: Pick<FamilyOptions, 'labels' | 'buckets' | 'onRead'>,
): MetricFamily {
  return new MetricFamily({ name: `marline_${name}`, help, type, ...more });
}
