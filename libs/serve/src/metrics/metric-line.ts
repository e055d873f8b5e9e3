import { decimal } from './metric-family.js';
import type { MetricDefinition } from './metric-definition.js';

/**
 * A value as a line of TorchServe's `ts_metrics.log` and `model_metrics.log`; the last label is the host's name.
 * @param requestIds of a handler's metric: those that it is about, `null` for none
 * @example 'Requests2XX.Count:1.0|#Level:Host|#hostname:vm,timestamp:1795363302'
 */
export function metricLine(
  { name, unit, labels }: MetricDefinition,
  values: readonly string[],
  value: number,
  requestIds?: string | null,
): string {
  const pairs = labels.slice(0, -1).map((label, index) => `${label}:${values[index] ?? ''}`);
  const ids = requestIds === undefined ? '' : `requestID:${requestIds},`;
  const line = `${name}.${unit}:${decimal(value)}|#${pairs.join(',')}|#hostname:${values.at(-1)},${ids}timestamp:${Math.floor(Date.now() / 1000)}`;
  // A handler's text must not become a line of its own.
  return line.replaceAll(/[\r\n]/g, ' ');
}
