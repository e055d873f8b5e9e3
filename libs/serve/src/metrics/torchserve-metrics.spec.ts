import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import type { HandlerMetric } from '#libs/common';
import { Families } from './families.js';
import { LeftOut } from './left-out.js';
import { TORCHSERVE_METRICS } from './metric-definition.js';
import { MAX_LABEL_LENGTH, MAX_SERIES, MetricFamily } from './metric-family.js';
import { MAX_DETECTED, TorchServeMetrics, type TorchServeMetricsOptions } from './torchserve-metrics.js';

function setUp(options: Partial<TorchServeMetricsOptions> = {}, registry = new Registry()) {
  const families = new Families(registry);
  const leftOut = new MetricFamily({ name: 'left_out', help: 'x', type: 'counter', labels: ['reason'] });
  const seen = { server: [] as string[], model: [] as string[], warnings: [] as string[] };
  const metrics = new TorchServeMetrics({
    config: TORCHSERVE_METRICS,
    mode: 'prometheus',
    autoDetect: true,
    hostname: 'h',
    register: (family) => families.add(family),
    log: { server: (line) => seen.server.push(line), model: (line) => seen.model.push(line) },
    leftOut: new LeftOut(leftOut, (message) => seen.warnings.push(message)),
    ...options,
  });
  const leftOutFor = async (reason: string) =>
    (await leftOut.get()).values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
  return { metrics, families, leftOut, seen, leftOutFor };
}

const reported = (metric: Partial<HandlerMetric> = {}): HandlerMetric => ({
  name: 'Own',
  value: 2,
  unit: 'Count',
  type: 'counter',
  dimensions: { ModelName: 'm', Level: 'Model' },
  ...metric,
});

const withoutTime = (lines: readonly string[]) =>
  lines.map((line) => line.replace(/timestamp:\d+$/, 'timestamp:T'));

describe("TorchServe's metrics", () => {
  it('are kept under their names and labels', async () => {
    const { metrics, families } = setUp();
    const requests = metrics.server('ts_inference_requests_total', ['m', 'default']);
    requests.record(1);
    requests.record(1);
    expect(await families.text(new Set(['ts_inference_requests_total']))).toBe(
      [
        '# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count',
        '# TYPE ts_inference_requests_total counter',
        'ts_inference_requests_total{model_name="m",model_version="default",hostname="h"} 2',
        '',
      ].join('\n'),
    );
  });

  it('go nowhere when the configuration does not have them, or has them with other labels', async () => {
    const config = {
      server: [{ name: 'QueueTime', type: 'gauge', unit: 'ms', labels: ['A', 'B', 'Hostname'] }],
      model: [],
    } as const;
    const { metrics, families, seen, leftOutFor } = setUp({ config });
    metrics.server('Requests2XX', ['Host']).record(1);
    metrics.server('QueueTime', ['Host']).record(1);
    expect(await families.text()).not.toContain('Host"');
    expect(seen.warnings).toEqual([
      expect.stringContaining('"QueueTime" are left out: it has the labels A, B'),
    ]);
    expect(await leftOutFor('labels')).toBe(1);
  });

  it('have the type that the configuration gives them', async () => {
    const config = {
      server: [{ name: 'QueueTime', type: 'histogram', unit: 'ms', labels: ['Level', 'Hostname'] }],
      model: [],
    } as const;
    const { metrics, families } = setUp({ config });
    metrics.server('QueueTime', ['Host']).record(7);
    expect(await families.text()).toContain('QueueTime_bucket{Level="Host",Hostname="h",le="7.5"} 1\n');
  });

  it('are lines in the mode log', async () => {
    const { metrics, families, seen } = setUp({ mode: 'log' });
    metrics.server('Requests2XX', ['Host']).record(1);
    metrics.server('WorkerLoadTime', ['W-9000-m_1.0', 'Host']).record(12.5);
    metrics.handler(reported({ requestIds: 'r1,r2' }));
    metrics.handler(reported({ name: 'Odd', unit: 'unit', value: 1, dimensions: { Level: 'Error' } }));
    metrics.handler(reported({ name: 'Sly', dimensions: { A: 'x\n2026 - Requests2XX.Count:9' } }));
    expect(withoutTime(seen.server)).toEqual([
      'Requests2XX.Count:1.0|#Level:Host|#hostname:h,timestamp:T',
      'WorkerLoadTime.Milliseconds:12.5|#WorkerName:W-9000-m_1.0,Level:Host|#hostname:h,timestamp:T',
    ]);
    expect(withoutTime(seen.model)).toEqual([
      'Own.Count:2.0|#ModelName:m,Level:Model|#hostname:h,requestID:r1,r2,timestamp:T',
      'Odd.unit:1.0|#Level:Error|#hostname:h,requestID:null,timestamp:T',
      'Sly.Count:2.0|#A:x 2026 - Requests2XX.Count:9|#hostname:h,requestID:null,timestamp:T',
    ]);
    expect(await families.text()).toBe('');
  });

  it('are three counters and lines in the mode legacy', async () => {
    const { metrics, families, seen } = setUp({ mode: 'legacy' });
    metrics.server('ts_inference_requests_total', ['m', '1.0']).record(1);
    metrics.server('Requests2XX', ['Host']).record(1);
    metrics.handler(reported());
    expect((await families.text()).match(/^# TYPE .*$/gm)).toEqual([
      '# TYPE ts_inference_requests_total counter',
      '# TYPE ts_inference_latency_microseconds counter',
      '# TYPE ts_queue_latency_microseconds counter',
    ]);
    expect([seen.server.length, seen.model.length]).toEqual([1, 1]);
  });
});

describe("handlers' metrics", () => {
  it('of a name that the configuration lacks are passed over unless they are detected', async () => {
    const { metrics, families, seen } = setUp({ autoDetect: false });
    metrics.handler(reported());
    expect(await families.text()).not.toContain('Own');
    expect(seen.warnings).toEqual([]);
  });

  it('are made from their first value', async () => {
    const { metrics, families } = setUp();
    metrics.handler(reported());
    metrics.handler(reported({ value: 3 }));
    expect(await families.text(new Set(['Own']))).toContain(
      'Own{ModelName="m",Level="Model",Hostname="h"} 5\n',
    );
  });

  it('are bounded in number, however many a handler invents', async () => {
    const { metrics, families, seen, leftOutFor } = setUp();
    for (let index = 0; index < 5_000; index += 1) metrics.handler(reported({ name: `Own${index}` }));
    expect((await families.text()).match(/^Own\d+\{/gm)).toHaveLength(MAX_DETECTED);
    expect(await leftOutFor('too_many_names')).toBe(5_000 - MAX_DETECTED);
    expect(seen.warnings.length).toBeLessThanOrEqual(100);
  });

  it('are bounded in labels, however many a handler invents', async () => {
    const { metrics, families, seen, leftOutFor } = setUp();
    for (let index = 0; index < MAX_SERIES + 50; index += 1)
      metrics.handler(reported({ dimensions: { User: `u${index}` } }));
    metrics.handler(reported({ dimensions: { User: 'u'.repeat(MAX_LABEL_LENGTH + 1) } }));
    expect((await families.text()).match(/^Own\{/gm)).toHaveLength(MAX_SERIES);
    expect(await leftOutFor('too_many_series')).toBe(51);
    expect(seen.warnings).toHaveLength(1);
  });

  it.each([
    ['a name with a blank', { name: 'a b' }],
    ['an empty name', { name: '' }],
    ['a name that every object has', { name: 'constructor' }],
    ['a name with a meaning for objects', { name: '__proto__' }],
    ['a line of its own as a name', { name: 'a 1\nb' }],
    ["one of Prometheus' own labels", { dimensions: { __name__: 'x' } }],
    ['the label of buckets', { type: 'histogram' as const, dimensions: { le: '1' } }],
    ['the label of the host', { dimensions: { Hostname: 'x' } }],
    ['a counter that shrinks', { name: 'Shrinks', value: -1 }],
  ])('with %s are left out', async (_what, metric) => {
    const { metrics, families, leftOutFor } = setUp();
    const before = (await families.text()).split('\n').filter((line) => !line.startsWith('#'));
    metrics.handler(reported(metric));
    expect((await families.text()).split('\n').filter((line) => !line.startsWith('#'))).toEqual(before);
    expect(await leftOutFor('invalid')).toBe(1);
  });

  it('keep a hostile value inside its label', async () => {
    const { metrics, families } = setUp();
    metrics.handler(reported({ dimensions: { A: 'x"} 9\nRequests2XX{Level="\\' } }));
    expect(await families.text(new Set(['Own']))).toContain(
      'Own{A="x\\"} 9\\nRequests2XX{Level=\\"\\\\",Hostname="h"} 2\n',
    );
  });

  it('with labels of another number are left out, and told once', async () => {
    const { metrics, seen, leftOutFor } = setUp();
    metrics.handler(reported());
    for (let time = 0; time < 3; time += 1) metrics.handler(reported({ dimensions: { A: '1' } }));
    expect(await leftOutFor('labels')).toBe(3);
    expect(seen.warnings).toHaveLength(1);
  });
});
