import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseMetricsConfig, readMetricsConfig } from './metrics-config.js';

const folder = mkdtempSync(join(tmpdir(), 'marline-metrics-'));
afterAll(() => rmSync(folder, { recursive: true }));

const GOOD = `
dimensions:
  - &model_name "ModelName"
  - &level "Level"
ts_metrics:
  counter:
    - name: ts_inference_requests_total
      unit: Count
      dimensions: ["model_name", "model_version", "hostname"]
model_metrics:
  gauge:
    - { name: Own, unit: MB, dimensions: [*model_name, *level] }
  histogram:
`;

/** A `ts_metrics` section with this in it. */
const server = (text: string) => `ts_metrics:\n  gauge:\n    - ${text}`;

describe('a metrics.yaml', () => {
  it('names the metrics of the server and of handlers; those get the label of the host', () => {
    expect(parseMetricsConfig(GOOD)).toEqual({
      server: [
        {
          name: 'ts_inference_requests_total',
          type: 'counter',
          unit: 'Count',
          labels: ['model_name', 'model_version', 'hostname'],
        },
      ],
      model: [{ name: 'Own', type: 'gauge', unit: 'MB', labels: ['ModelName', 'Level', 'Hostname'] }],
    });
  });

  it.each([
    ['that is no YAML', 'a: b: c', /mapping/i],
    ['that is empty', '', 'The file is no mapping'],
    ['that is a list', '- a', 'The file is no mapping'],
    ['with a section of no known name', 'tsmetrics: {}', 'there is no section tsmetrics'],
    ['with a section that is a text', 'ts_metrics: all', 'ts_metrics is no mapping'],
    ['with a type of no known name', 'model_metrics: { summary: [] }', 'model_metrics has a type summary'],
    ['with a type that is no list', 'ts_metrics: { gauge: all }', 'ts_metrics.gauge is no list'],
    ['with a metric that is a text', server('Size'), 'An entry of ts_metrics.gauge is no mapping'],
    ['with a metric without a name', server('{ unit: MB }'), 'a metric of ts_metrics.gauge has no name'],
    ['with an empty name', server('{ name: "", unit: MB }'), 'has no name'],
    ['with an empty unit', server('{ name: Size, unit: "" }'), 'Size has no unit'],
    ['with a name that Prometheus refuses', server('{ name: a b, unit: MB }'), '"a b" is no name'],
    ['with a label that Prometheus refuses', server('{ name: A, unit: B, dimensions: [a-b] }'), '"a-b"'],
    [
      "with one of Prometheus' own labels",
      server('{ name: A, unit: B, dimensions: [__proto__] }'),
      '"__proto__"',
    ],
    ['with a label twice', server('{ name: A, unit: B, dimensions: [L, L] }'), 'A has a dimension twice'],
    [
      'with a name twice',
      'ts_metrics: { gauge: [{ name: A, unit: B }] }\nmodel_metrics: { counter: [{ name: A, unit: B }] }',
      'A is there twice',
    ],
    ['with a bomb of aliases', bomb(), /alias/i],
  ])('%s is refused', (_what, text, message) => {
    expect(() => parseMetricsConfig(text)).toThrow(message);
  });

  it('that is not there is refused by its name', () => {
    const path = join(folder, 'missing.yaml');
    expect(() => readMetricsConfig(path)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
    expect(() => readMetricsConfig(path)).toThrow(path);
  });

  it('that is endless is refused before it is read', () => {
    const path = join(folder, 'large.yaml');
    writeFileSync(path, '#'.repeat(2 * 1024 * 1024));
    expect(() => readMetricsConfig(path)).toThrow('larger than 1048576 bytes');
  });
});

/** Ten names that each stand for ten of the one before. */
function bomb(): string {
  const lines = Array.from({ length: 10 }, (_, level) => {
    const list =
      level === 0
        ? '"x"'
        : Array(10)
            .fill(`*a${level - 1}`)
            .join(', ');
    return `  - &a${level} [${list}]`;
  });
  return `dimensions:\n${lines.join('\n')}\n`;
}
