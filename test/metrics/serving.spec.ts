import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Counter, Registry } from 'prom-client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MarlineError } from '#libs/common';
import { MAX_VERSIONS } from '../../libs/serve/src/metrics/version-meters.js';
import { pythonVenv } from '../support/python-venv.js';
import { serveApp, type ServeAppOptions, type ServedApp } from '../support/serve-app.js';
import { readMetrics, type ReadMetric } from './prometheus-client.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`Prometheus' client does not read /metrics here: ${missing}.`);

/** A file, but no metrics.yaml. */
const NO_METRICS_CONFIG = fileURLToPath(new URL('read_metrics.py', import.meta.url));

let served: ServedApp | undefined;
afterEach(async () => {
  await served?.close();
  served = undefined;
});

async function serve(
  options: ServeAppOptions,
): Promise<(path: string, init?: RequestInit) => Promise<Response>> {
  served = await serveApp({ metrics: true, ...options });
  const { url } = served;
  return (path, init) => fetch(`${url}${path}`, init);
}

const post = (body: BodyInit): RequestInit => ({ method: 'POST', body });
const input = () =>
  post(
    JSON.stringify({
      inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: Array(128).fill(0.1) }],
    }),
  );
const textOf = async (answer: Promise<Response>) => (await answer).text();

/** The value of a sample by its name and its labels in their order; `undefined` when there is none. */
function valueOf(text: string, sample: string): number | undefined {
  const line = text.split('\n').find((line) => line.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length + 1));
}

describe('/metrics', () => {
  it('counts what was asked, answered, refused and failed', async () => {
    const ask = await serve({ models: ['mlp', 'faulty'] });
    await ask('/predictions/mlp', input());
    await ask('/predictions/mlp/1.0', input());
    await ask('/predictions/mlp', post('no tensor'));
    await ask('/predictions/nobody', input());
    const text = await textOf(ask('/metrics'));
    const version = 'model="mlp",version="1.0"';
    const host = `hostname="${hostname()}"`;
    expect(
      valueOf(text, `ts_inference_requests_total{model_name="mlp",model_version="default",${host}}`),
    ).toBe(2);
    expect(valueOf(text, `ts_inference_requests_total{model_name="mlp",model_version="1.0",${host}}`)).toBe(
      1,
    );
    expect(valueOf(text, `Requests2XX{Level="Host",Hostname="${hostname()}"}`)).toBe(2);
    expect(valueOf(text, `Requests4XX{Level="Host",Hostname="${hostname()}"}`)).toBe(2);
    expect(valueOf(text, `marline_requests_total{${version}}`)).toBe(3);
    expect(valueOf(text, `marline_request_seconds_count{${version}}`)).toBe(2);
    expect(valueOf(text, `marline_requests_failed_total{${version},code="INVALID_INPUT"}`)).toBe(1);
    expect(valueOf(text, `marline_run_seconds_count{${version}}`)).toBe(3);
    expect(valueOf(text, `marline_workers{${version},state="idle"}`)).toBe(1);
    expect(valueOf(text, `marline_queue_depth{${version}}`)).toBe(0);
    // The parts of a request are no more than the whole.
    const sum = (name: string) => valueOf(text, `marline_${name}_seconds_sum{${version}}`) ?? Number.NaN;
    expect(sum('preprocess') + sum('postprocess')).toBeLessThan(sum('run'));
    expect(sum('queue')).toBeGreaterThan(0);
    expect(sum('queue')).toBeLessThan(sum('request'));
  });

  it('names refusals by their reason, and counts them beside what was served', async () => {
    const ask = await serve({ models: ['mlp'] });
    await served?.registry.get('mlp').scale(0, 0);
    await ask('/predictions/mlp', input());
    const text = await textOf(ask('/metrics'));
    expect(valueOf(text, 'marline_requests_refused_total{model="mlp",version="1.0",code="NO_WORKER"}')).toBe(
      1,
    );
    expect(valueOf(text, 'marline_requests_total{model="mlp",version="1.0"}')).toBe(1);
    expect(text).not.toContain('WorkerLoadTime{');
  });

  it.each([
    ['one', '?name[]=Requests2XX', ['Requests2XX']],
    ['two, one of them unknown', '?name[]=nosuch&name[]=Requests2XX', ['Requests2XX']],
    ['a part of a histogram', '?name[]=marline_request_seconds_count', ['marline_request_seconds_count']],
    ['a histogram, none of whose samples has its name', '?name[]=marline_request_seconds', []],
    ['nothing', '?name[]=', []],
    ['another spelling of the same', '?name%5B%5D=Requests2XX', ['Requests2XX']],
    ['a pattern', '?name[]=.*&name[]=^Requests', []],
    ['a name that every object has', '?name[]=__proto__&name[]=constructor', []],
    ['a line of its own', '?name[]=Requests2XX%0Aevil%201', []],
    ['broken escapes', '?name[]=%E0%A4%A&name[]=%', []],
    ['2,000 names', `?${'name[]=x&'.repeat(2000)}`.slice(0, 15_000), []],
  ])('gives with a filter for %s only that', async (_what, query, names) => {
    const ask = await serve({ models: ['mlp'] });
    await ask('/predictions/mlp', input());
    const answer = await ask(`/metrics${query}`);
    expect(answer.status).toBe(200);
    const lines = (await answer.text()).split('\n').filter((line) => line !== '' && !line.startsWith('# '));
    expect([...new Set(lines.map((line) => line.split('{', 1)[0]))]).toEqual(names);
  });

  it('is bounded, whatever names and versions clients ask for', async () => {
    const ask = await serve({ models: ['mlp'], options: { disableSystemMetrics: true } });
    const lengthOf = async () => (await textOf(ask('/metrics'))).split('\n').length;
    await ask('/predictions/nobody', input());
    await lengthOf();
    const before = await lengthOf();
    for (let index = 0; index < 200; index += 1) {
      await ask(`/predictions/x${index}`, input());
      await ask(`/predictions/mlp/${index}`, input());
    }
    expect(await lengthOf()).toBe(before);
  });

  it('forgets versions that are gone before it counts no others', async () => {
    const ask = await serve({ models: [] });
    const observer = served?.registry as unknown as {
      options: { observer: import('#libs/common').InferenceObserver };
    };
    for (let index = 0; index < MAX_VERSIONS + 10; index += 1)
      observer.options.observer.requestReceived({ model: `m${index}`, version: '1.0' }, 'r', undefined);
    const text = await textOf(ask('/metrics'));
    expect(text.match(/^marline_requests_total\{/gm)).toHaveLength(10);
    expect(text.match(/^ts_inference_requests_total\{/gm)).toHaveLength(10);
  });

  it('is not there unless it is asked for', async () => {
    const ask = await serve({ models: ['mlp'], metrics: false });
    expect((await ask('/metrics')).status).toBe(404);
  });

  it("is behind the module's guards, at its mount", async () => {
    const ask = await serve({ models: [], mount: 'ml', guards: [{ canActivate: () => false }] });
    expect((await ask('/metrics')).status).toBe(404);
    expect((await ask('/ml/metrics')).status).toBe(403);
  });
});

describe('metrics of handlers', () => {
  const archive = { fixture: 'slow', name: 'inventive', handler: 'handlers/inventive_handler.mjs' } as const;

  it('are bounded, however many names and labels a handler invents', async () => {
    const ask = await serve({ models: [archive], options: { modelMetricsAutoDetect: true } });
    const answers = await Promise.all([1, 2].map(() => ask('/predictions/inventive', post('{}'))));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const text = await textOf(ask('/metrics'));
    expect(text.match(/^# TYPE Invented\d+ /gm)).toHaveLength(199);
    expect(text.match(/^Labelled\{/gm)).toHaveLength(5_000);
    expect(valueOf(text, 'marline_metrics_left_out_total{reason="too_many_names"}')).toBeGreaterThan(3_000);
    expect(valueOf(text, 'marline_metrics_left_out_total{reason="too_many_series"}')).toBeGreaterThan(0);
  });

  it('are left out when nobody configured them', async () => {
    const ask = await serve({ models: [archive] });
    await ask('/predictions/inventive', post('{}'));
    expect(await textOf(ask('/metrics'))).not.toMatch(/Invented|Labelled/);
  });
});

describe('a metrics.yaml that cannot be used', () => {
  it("leaves TorchServe's metrics out, and says why in the log", async () => {
    const logger = { log: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const ask = await serve({ models: ['mlp'], logger, options: { metricsConfig: NO_METRICS_CONFIG } });
    await ask('/predictions/mlp', input());
    const text = await textOf(ask('/metrics'));
    expect(text).not.toMatch(/^(Requests|ts_)/m);
    expect(valueOf(text, 'marline_requests_total{model="mlp",version="1.0"}')).toBe(1);
    expect(logger.error.mock.calls.flat()).toContainEqual(expect.stringContaining(NO_METRICS_CONFIG));
  });
});

describe('the mode log', () => {
  it("writes TorchServe's metrics as lines of the log, and leaves /metrics empty", async () => {
    const logger = { log: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const options = { metricsMode: 'log', metricTimeInterval: 1 } as const;
    const ask = await serve({ models: ['mlp'], logger, options });
    await ask('/predictions/mlp', input());
    const read = await ask('/metrics');
    expect([read.status, await read.text()]).toEqual([200, '']);
    const linesOf = (context: string) =>
      logger.log.mock.calls.filter((call) => call.at(-1) === context).map((call) => String(call[0]));
    const host = `\\|#hostname:${hostname()},`;
    const expected = [
      `^Requests2XX\\.Count:1\\.0\\|#Level:Host${host}timestamp:\\d+$`,
      `^ts_inference_requests_total\\.Count:1\\.0\\|#model_name:mlp,model_version:default${host}timestamp:`,
      `^ts_inference_latency_microseconds\\.Microseconds:[\\d.]+\\|#model_name:mlp`,
      `^WorkerLoadTime\\.Milliseconds:\\d+\\.0\\|#WorkerName:W-\\d+-mlp_1\\.0,Level:Host`,
      `^CPUUtilization\\.Percent:`,
      `^DiskAvailable\\.Gigabytes:`,
    ];
    await vi.waitFor(() => {
      for (const line of expected) expect(linesOf('TS_METRICS')).toContainEqual(expect.stringMatching(line));
    });
    expect(linesOf('MODEL_METRICS')).toContainEqual(
      expect.stringMatching(
        `^PredictionTime\\.ms:[\\d.]+\\|#ModelName:mlp,Level:Model${host}requestID:null,`,
      ),
    );
  });
});

describe("the application's registry", () => {
  it("holds Marline's metrics beside its own, and only while Marline runs", async () => {
    const registry = new Registry();
    registry.setDefaultLabels({ app: 'shop' });
    new Counter({ name: 'orders_total', help: 'Orders.', registers: [registry] }).inc();
    const ask = await serve({ models: ['mlp'], options: { metricsRegistry: registry } });
    await ask('/predictions/mlp', input());
    const all = await registry.metrics();
    expect(valueOf(all, 'orders_total{app="shop"}')).toBe(1);
    expect(valueOf(all, 'marline_requests_total{model="mlp",version="1.0",app="shop"}')).toBe(1);
    const ours = await textOf(ask('/metrics'));
    expect(ours).toContain('marline_requests_total');
    expect(ours).not.toContain('orders_total');
    await served?.close();
    served = undefined;
    expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(['orders_total']);
  });

  it('is filled without a route of ours', async () => {
    const registry = new Registry();
    const ask = await serve({ models: ['mlp'], metrics: false, options: { metricsRegistry: registry } });
    await ask('/predictions/mlp', input());
    expect((await ask('/metrics')).status).toBe(404);
    expect(valueOf(await registry.metrics(), 'marline_requests_total{model="mlp",version="1.0"}')).toBe(1);
  });

  it('that has a metric of such a name already stops the start, and is left as it was', async () => {
    const registry = new Registry();
    new Counter({ name: 'marline_requests_total', help: 'Mine.', registers: [registry] }).inc(7);
    new Counter({ name: 'QueueTime', help: 'Mine.', registers: [registry] }).inc();
    const refused = await serve({ models: [], options: { metricsRegistry: registry } }).catch(
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(MarlineError);
    expect((refused as MarlineError).code).toBe('OPTIONS_INVALID');
    expect((refused as MarlineError).message).toContain('QueueTime, marline_requests_total');
    expect(registry.getMetricsAsArray()).toHaveLength(2);
    expect(await registry.metrics()).toContain('marline_requests_total 7');
  });
});

describe.skipIf(python === undefined)("what Prometheus' client reads", () => {
  async function read(): Promise<Map<string, ReadMetric>> {
    const ask = await serve({ models: ['mlp'], options: { modelMetricsAutoDetect: true } });
    await ask('/predictions/mlp', input());
    return new Map(
      readMetrics(python ?? '', await textOf(ask('/metrics'))).map((metric) => [metric.name, metric]),
    );
  }

  it('is every metric with its type, its help and its samples', async () => {
    const metrics = await read();
    expect(metrics.get('marline_request_seconds')).toMatchObject({ type: 'histogram' });
    const buckets = metrics.get('marline_request_seconds')?.samples ?? [];
    expect(buckets.find(({ labels }) => labels['le'] === '+Inf')?.value).toBe(1);
    expect(metrics.get('marline_workers')?.samples).toHaveLength(4);
    expect([...metrics.values()].filter(({ type, help }) => type === 'unknown' || help === '')).toEqual([]);
  });

  it.each([
    ['ts_inference_requests_total', ['model_name', 'model_version', 'hostname']],
    ['ts_inference_latency_microseconds', ['model_name', 'model_version', 'hostname']],
    ['ts_queue_latency_microseconds', ['model_name', 'model_version', 'hostname']],
    ['Requests2XX', ['Level', 'Hostname']],
    ['QueueTime', ['Level', 'Hostname']],
    ['WorkerThreadTime', ['Level', 'Hostname']],
    ['WorkerLoadTime', ['WorkerName', 'Level', 'Hostname']],
    ['CPUUtilization', ['Level', 'Hostname']],
    ['MemoryUtilization', ['Level', 'Hostname']],
    ['DiskUtilization', ['Level', 'Hostname']],
    ['HandlerTime', ['ModelName', 'Level', 'Hostname']],
    ['PredictionTime', ['ModelName', 'Level', 'Hostname']],
  ])("is %s with the labels that TorchServe's dashboards select by", async (name, labels) => {
    const samples = [...(await read()).values()].flatMap((metric) => metric.samples);
    // To Prometheus' client every counter has the suffix.
    const sample = samples.find((candidate) => [name, `${name}_total`].includes(candidate.name));
    expect(Object.keys(sample?.labels ?? {})).toEqual(labels);
  });
});
