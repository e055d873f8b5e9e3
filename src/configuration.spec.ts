import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Environment } from './config-properties.js';
import { describeConfiguration, loadConfiguration } from './configuration.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marline-configuration-'));
  mkdirSync(join(directory, 'store'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function load(
  properties: string | undefined,
  commandLine: Record<string, string> = {},
  environment: Environment = {},
) {
  if (properties !== undefined) writeFileSync(join(directory, 'config.properties'), properties);
  return loadConfiguration({ commandLine: { model_store: 'store', ...commandLine }, environment, directory });
}

describe('loadConfiguration', () => {
  it('listens on loopback with the model API off when nothing is said', () => {
    const configuration = load(undefined);
    expect(configuration.inferenceAddress).toEqual({ host: '127.0.0.1', port: 8080, secure: false });
    expect(configuration.managementAddress).toEqual({ host: '127.0.0.1', port: 8081, secure: false });
    expect(configuration.metricsAddress).toEqual({ host: '127.0.0.1', port: 8082, secure: false });
    expect(configuration).toMatchObject({
      enableModelApi: false,
      loadModels: [],
      maxRequestSize: 6_553_500,
      file: undefined,
    });
    expect(configuration.origins.inferenceAddress).toBe('default');
  });

  it('prefers the command line to the file', () => {
    const configuration = load('model_store=elsewhere\nload_models=a.mar\njob_queue_size=7', {
      load_models: 'b.mar, n=c.mar',
    });
    expect(configuration).toMatchObject({
      modelStore: join(directory, 'store'),
      loadModels: ['b.mar', 'n=c.mar'],
      jobQueueSize: 7,
    });
    expect(configuration.origins).toMatchObject({
      modelStore: 'command line',
      loadModels: 'command line',
      jobQueueSize: 'file',
    });
  });

  it('prefers the environment to all else, but only when the file allows it', () => {
    const environment = { TS_INFERENCE_ADDRESS: 'http://127.0.0.1:9000', TS_LOAD_MODELS: 'all' };
    expect(load('job_queue_size=7', {}, environment).inferenceAddress).toMatchObject({ port: 8080 });
    const allowed = load(
      'enable_envvars_config=true\ninference_address=http://127.0.0.1:1234',
      { load_models: 'b.mar' },
      environment,
    );
    expect(allowed.inferenceAddress).toMatchObject({ port: 9000 });
    expect(allowed.loadModels).toEqual(['all']);
    expect(allowed.origins.inferenceAddress).toBe('environment');
  });

  it('lets MARLINE_ variables replace defaults only', () => {
    const environment = { MARLINE_JOB_QUEUE_SIZE: '5', MARLINE_ENABLE_MODEL_API: 'true' };
    const configuration = load('job_queue_size=7', {}, environment);
    expect(configuration).toMatchObject({ jobQueueSize: 7, enableModelApi: true });
    expect(configuration.origins).toMatchObject({ jobQueueSize: 'file', enableModelApi: 'environment' });
    expect(() => load(undefined, {}, { MARLINE_NUMBER_OF_GPU: 'x' })).toThrow(
      '(number_of_gpu, from MARLINE_NUMBER_OF_GPU)',
    );
  });

  it('reads continued lines, and environment variables between double dollars', () => {
    const configuration = load(
      'load_models=a.mar,\\\n  b.mar\nmodel_store=$$PLACE$$',
      {},
      { PLACE: 'store' },
    );
    expect(configuration.loadModels).toEqual(['a.mar', 'b.mar']);
    expect(() => load('model_store=$$NO_SUCH_VAR$$')).toThrow('Invalid Environment Variable NO_SUCH_VAR');
  });

  it('takes the file of TS_CONFIG_FILE before the one of --ts-config', () => {
    writeFileSync(join(directory, 'one.properties'), 'job_queue_size=1');
    writeFileSync(join(directory, 'two.properties'), 'job_queue_size=2');
    const sources = { commandLine: { model_store: 'store' }, directory, tsConfig: 'one.properties' };
    expect(loadConfiguration({ ...sources, environment: {} }).jobQueueSize).toBe(1);
    expect(
      loadConfiguration({ ...sources, environment: { TS_CONFIG_FILE: 'two.properties' } }).jobQueueSize,
    ).toBe(2);
  });

  it.each([
    [{ inference_address: 'localhost:18080' }, 'Invalid binding address: localhost:18080'],
    [{ inference_address: 'http://127.0.0.1:99999' }, 'Invalid port number: http://127.0.0.1:99999'],
    [{ management_address: 'https://' }, 'Invalid binding address: https://.'],
    [{ metrics_address: 'unix:metrics.sock' }, 'Write the path of the socket in full'],
    [{ metrics_address: 'unix:/tmp/' }, 'Write the path of the socket in full'],
    [{ metrics_address: 'unix:/tmp/a\0b' }, 'Write the path of the socket in full'],
    [{ metrics_address: `unix:/tmp/${'a'.repeat(103)}` }, /at most 10[37] bytes, this one has 108/],
    [{ metrics_address: `unix:/tmp/${'ü'.repeat(52)}` }, /at most 10[37] bytes, this one has 109/],
    [
      { job_queue_size: 'abc' },
      '"abc" is not a whole number from 1 up (job_queue_size, from the command line)',
    ],
    [{ enable_model_api: 'yes' }, '"yes" is neither true nor false (enable_model_api'],
    [
      { metrics_mode: 'statsd' },
      '"statsd" is none of prometheus, log, legacy (metrics_mode, from the command line)',
    ],
    [{ metric_time_interval: '0' }, '"0" is not a whole number from 1 up (metric_time_interval'],
    [
      { cors_allowed_origin: 'a\r\nset-cookie: b' },
      'has characters that no header may have (cors_allowed_origin',
    ],
    [{ model_store: 'nodir' }, '--model-store directory not found: nodir'],
    [{ model_store: '' }, 'Missing mandatory parameter --model-store'],
  ])('refuses %o', (commandLine, message) => {
    expect(() => load(undefined, commandLine)).toThrow(message);
  });

  it('refuses a configuration file that is not there', () => {
    const sources = { commandLine: { model_store: 'store' }, directory, environment: {} };
    expect(() => loadConfiguration({ ...sources, tsConfig: 'nofile' })).toThrow(
      '--ts-config file not found: nofile',
    );
    expect(() => loadConfiguration({ ...sources, environment: { TS_CONFIG_FILE: 'gone' } })).toThrow(
      'gone (from TS_CONFIG_FILE)',
    );
  });

  it("reads TorchServe's keys of metrics, and the path of metrics.yaml from where the server starts", () => {
    const configuration = load(
      [
        'metrics_mode=LOG',
        'metrics_config=own.yaml',
        'model_metrics_auto_detect=true',
        'disable_system_metrics=true',
        'metric_time_interval=5',
      ].join('\n'),
    );
    expect(configuration).toMatchObject({
      metricsMode: 'log',
      metricsConfig: join(directory, 'own.yaml'),
      modelMetricsAutoDetect: true,
      disableSystemMetrics: true,
      metricTimeInterval: 5,
    });
    expect(load('')).toMatchObject({ metricsMode: 'prometheus', metricsConfig: '', metricTimeInterval: 60 });
  });

  it('lists the keys without effect with the reason, and tells unknown ones apart', () => {
    const configuration = load('vmargs=-Xmx1g\njob_queue_size=7\ninference_adress=http://127.0.0.1:1');
    expect(configuration.ignoredKeys).toEqual([
      { key: 'vmargs', reason: 'there is no Java here' },
      { key: 'inference_adress', reason: undefined },
    ]);
  });

  it('reads the settings of single versions, and refuses what is none', () => {
    const models = { echo: { '1.0': { batchSize: 4 } } };
    expect(load(`models=${JSON.stringify(models, null, 2).replaceAll('\n', '\\\n')}`).models).toEqual(models);
    for (const wrong of ['{broken', '[]', '1'])
      expect(() => load(`models=${wrong}`)).toThrow('is not a JSON object (models');
  });

  it('reads an address without port as TorchServe does, and IPv6 hosts', () => {
    const configuration = load(
      'inference_address=http://0.0.0.0\nmanagement_address=http://[::1]\nmetrics_address=http://localhost:0/',
    );
    expect(configuration.inferenceAddress).toEqual({ host: '0.0.0.0', port: 80, secure: false });
    expect(configuration.managementAddress).toEqual({ host: '::1', port: 8081, secure: false });
    expect(configuration.metricsAddress).toEqual({ host: 'localhost', port: 0, secure: false });
  });
});

describe('addresses', () => {
  it('have the ports of TorchServe for TLS when they name none', () => {
    const configuration = load(
      'inference_address=https://127.0.0.1\nmanagement_address=HTTPS://localhost\nmetrics_address=https://[::1]/',
    );
    expect(configuration.inferenceAddress).toEqual({ host: '127.0.0.1', port: 443, secure: true });
    expect(configuration.managementAddress).toEqual({ host: 'localhost', port: 8444, secure: true });
    expect(configuration.metricsAddress).toEqual({ host: '::1', port: 8445, secure: true });
    expect(describeConfiguration(configuration)).toContain('Metrics address: https://[::1]:8445 (file)');
  });

  it('may be Unix sockets, whose path is as long as the system allows', () => {
    const longest = `/tmp/${'a'.repeat(98)}`;
    const configuration = load(`inference_address=unix:///tmp//a.sock\nmanagement_address=UNIX:${longest}`);
    expect(configuration.inferenceAddress).toEqual({ path: '/tmp/a.sock' });
    expect(configuration.managementAddress).toEqual({ path: longest });
    expect(describeConfiguration(configuration)).toContain('Inference address: unix:/tmp/a.sock (file)');
  });
});

describe('.env.example', () => {
  it('documents a variable for every setting, with a value that is accepted', () => {
    const text = readFileSync(new URL('../.env.example', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^(?:# )?((?:TS|MARLINE)_\w+)=(.*)$/gm)];
    const environment = Object.fromEntries(documented.map(([, name = '', value]) => [name, value]));
    Object.assign(environment, { TS_MODEL_STORE: 'store', TS_CONFIG_FILE: undefined });
    const { origins } = load('enable_envvars_config=true', {}, environment);
    expect(Object.entries(origins).filter(([, origin]) => origin !== 'environment')).toEqual([]);
  });
});

describe('describeConfiguration', () => {
  it('names each value and where it came from', () => {
    const lines = describeConfiguration(
      load('management_address=http://[::1]:9', { load_models: 'a.mar,b.mar' }),
    );
    expect(lines).toContain('Config file: config.properties');
    expect(lines).toContain('Inference address: http://127.0.0.1:8080 (default)');
    expect(lines).toContain('Management address: http://[::1]:9 (file)');
    expect(lines).toContain('Initial Models: a.mar, b.mar (command line)');
  });
});
