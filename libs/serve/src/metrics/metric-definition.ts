/** What Prometheus calls a metric. */
export type MetricType = 'counter' | 'gauge' | 'histogram';

/** One metric of a `metrics.yaml`. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: MetricType;
  /** As it is written there: `Milliseconds`, `ms`, `Count`, … */
  readonly unit: string;
  /** Names of the labels, the host's name last. */
  readonly labels: readonly string[];
}

/** All metrics of a `metrics.yaml`. */
export interface MetricsConfig {
  /** Those of the server itself. */
  readonly server: readonly MetricDefinition[];
  /** Those of handlers. */
  readonly model: readonly MetricDefinition[];
}

/** What is put behind the dimensions of a handler's metric. */
export const HOSTNAME_LABEL = 'Hostname';

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
/** Names that begin with two underscores are Prometheus' own. */
const LABEL = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Why Prometheus would not take a metric; `undefined` when it would. */
export function whyNotAMetric({ name, type, labels }: Omit<MetricDefinition, 'unit'>): string | undefined {
  if (!NAME.test(name)) return `${JSON.stringify(name)} is no name for a metric`;
  const wrong = labels.find((label) => !LABEL.test(label) || (type === 'histogram' && label === 'le'));
  if (wrong !== undefined)
    return `${name} has a dimension ${JSON.stringify(wrong)}, which is no name for a label`;
  if (new Set(labels).size < labels.length) return `${name} has a dimension twice`;
  return undefined;
}

const HOST = ['Level', HOSTNAME_LABEL];
const REQUEST = ['model_name', 'model_version', 'hostname'];
const GPU = ['Level', 'DeviceId', HOSTNAME_LABEL];
const MODEL = ['ModelName', 'Level', HOSTNAME_LABEL];

const counter = (unit: string, labels: readonly string[], ...names: string[]) =>
  names.map((name): MetricDefinition => ({ name, type: 'counter', unit, labels }));
const gauge = (unit: string, labels: readonly string[], ...names: string[]) =>
  names.map((name): MetricDefinition => ({ name, type: 'gauge', unit, labels }));

/** What TorchServe's own `metrics.yaml` says. */
export const TORCHSERVE_METRICS: MetricsConfig = {
  server: [
    ...counter('Count', HOST, 'Requests2XX', 'Requests4XX', 'Requests5XX'),
    ...counter('Count', REQUEST, 'ts_inference_requests_total'),
    ...counter('Microseconds', REQUEST, 'ts_inference_latency_microseconds', 'ts_queue_latency_microseconds'),
    ...gauge('Milliseconds', HOST, 'QueueTime', 'WorkerThreadTime'),
    ...gauge('Milliseconds', ['WorkerName', ...HOST], 'WorkerLoadTime'),
    ...gauge('Percent', HOST, 'CPUUtilization', 'MemoryUtilization', 'DiskUtilization'),
    ...gauge('Megabytes', HOST, 'MemoryUsed', 'MemoryAvailable'),
    ...gauge('Gigabytes', HOST, 'DiskUsage', 'DiskAvailable'),
    ...gauge('Percent', GPU, 'GPUMemoryUtilization', 'GPUUtilization'),
    ...gauge('Megabytes', GPU, 'GPUMemoryUsed'),
  ],
  model: gauge('ms', MODEL, 'HandlerTime', 'PredictionTime'),
};
