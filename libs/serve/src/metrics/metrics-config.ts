import { readFileSync, statSync } from 'node:fs';
import { parse } from 'yaml';
import { MarlineError, messageOf } from '#libs/common';
import {
  HOSTNAME_LABEL,
  whyNotAMetric,
  type MetricDefinition,
  type MetricType,
  type MetricsConfig,
} from './metric-definition.js';

const TYPES: readonly MetricType[] = ['counter', 'gauge', 'histogram'];
const SECTIONS: readonly string[] = ['dimensions', 'ts_metrics', 'model_metrics'];
const LARGEST_BYTES = 1024 * 1024;

/**
 * Reads TorchServe's `metrics.yaml`. `ts_metrics` name the label of the host themselves, as their last dimension; those of
 * `model_metrics` get it.
 * @throws MarlineError `OPTIONS_INVALID` with the file and what is wrong in it
 */
export function readMetricsConfig(path: string): MetricsConfig {
  try {
    if (statSync(path).size > LARGEST_BYTES) throw new Error(`it is larger than ${LARGEST_BYTES} bytes`);
    return parseMetricsConfig(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new MarlineError('OPTIONS_INVALID', { reason: `${path}: ${messageOf(cause)}` }, { cause });
  }
}

/** @throws Error that says what is wrong */
export function parseMetricsConfig(text: string): MetricsConfig {
  const sections = mapping(parse(text) as unknown, 'The file');
  const unknown = Object.keys(sections).find((key) => !SECTIONS.includes(key));
  if (unknown !== undefined)
    throw new Error(`there is no section ${unknown}; those that count are ${SECTIONS.join(', ')}`);
  const server = definitions(sections['ts_metrics'], 'ts_metrics', []);
  const model = definitions(sections['model_metrics'], 'model_metrics', [HOSTNAME_LABEL]);
  const names = [...server, ...model].map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`${twice} is there twice`);
  return { server, model };
}

function definitions(section: unknown, at: string, more: readonly string[]): MetricDefinition[] {
  const byType = Object.entries(mapping(section ?? {}, at));
  return byType.flatMap(([type, metrics]) => {
    if (!TYPES.includes(type as MetricType))
      throw new Error(`${at} has a type ${type}; the types are ${TYPES.join(', ')}`);
    return list(metrics ?? [], `${at}.${type}`).map((entry) =>
      definition(mapping(entry, `An entry of ${at}.${type}`), type as MetricType, `${at}.${type}`, more),
    );
  });
}

function definition(
  { name, unit, dimensions }: Record<string, unknown>,
  type: MetricType,
  at: string,
  more: readonly string[],
): MetricDefinition {
  if (typeof name !== 'string' || name === '') throw new Error(`a metric of ${at} has no name`);
  if (typeof unit !== 'string' || unit === '') throw new Error(`${name} has no unit`);
  const labels = [...list(dimensions ?? [], `dimensions of ${name}`).map(String), ...more];
  const metric: MetricDefinition = { name, type, unit, labels };
  const wrong = whyNotAMetric(metric);
  if (wrong !== undefined) throw new Error(wrong);
  return metric;
}

function mapping(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new Error(`${what} is no mapping`);
}

function list(value: unknown, what: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`${what} is no list`);
}
