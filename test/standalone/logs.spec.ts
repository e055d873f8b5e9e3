import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import type { LoggerService } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inferenceCall, managementCall, prediction, protocolCall } from '../grpc/open-grpc.js';
import { GrpcClient } from '../support/grpc-client.js';
import { exchange } from '../support/http-exchange.js';
import type { FixtureName } from '../support/serve-app.js';
import { webRequest } from '../support/web-request.js';
import { ServerFolder } from './open-server.js';
import { FREE_PORTS, MarlineProcess, portOf, readiness } from './server-process.js';

let folder: ServerFolder;
beforeEach(() => {
  folder = new ServerFolder();
});
afterEach(() => folder.remove());

const log = (name: string) => readFileSync(join(folder.path, 'logs', name), 'utf8');
const entries = () =>
  log('access_log.log')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const number = expect.any(Number) as number;
const TENSOR = JSON.stringify({
  inputs: [
    { name: 'input', datatype: 'FP32', shape: [1, 128], data: Array.from({ length: 128 }, () => 0.5) },
  ],
});

describe('the access log', () => {
  it('has a line for every request, with its id and what the model did', async () => {
    await folder.pack('mlp');
    const server = await folder.start();
    const [inference, management] = [portOf(server, 'inference'), portOf(server, 'management')];
    await readiness(`http://127.0.0.1:${inference}`, ['mlp']);
    const post = { port: inference, method: 'POST' };
    const answers = [
      await webRequest({ port: inference, path: '/ping' }),
      await webRequest({ port: management, path: '/models?limit=1' }),
      await webRequest({ ...post, path: '/v2/models/mlp/infer' }, TENSOR),
      await webRequest({ ...post, path: '/predictions/mlp/1.0' }, 'no tensor'),
      await webRequest({ ...post, path: '/predictions/nosuch' }, 'x'),
      await webRequest({ port: inference, path: '/nowhere' }),
      await webRequest({ port: portOf(server, 'metrics'), path: '/metrics' }),
    ];
    await folder.closeAll();
    const told = entries().filter(({ path }) => path !== '/health/models/mlp');
    const ofModel = { model: 'mlp', version: '1.0' };
    const expected = [
      { method: 'GET', path: '/ping', status: 200 },
      { method: 'GET', path: '/models', status: 200 },
      {
        method: 'POST',
        path: '/v2/models/mlp/infer',
        status: 200,
        ...ofModel,
        queueMs: number,
        runMs: number,
      },
      { method: 'POST', path: '/predictions/mlp/1.0', status: 400, ...ofModel },
      { method: 'POST', path: '/predictions/nosuch', status: 404 },
      { method: 'GET', path: '/nowhere', status: 404 },
      { method: 'GET', path: '/metrics', status: 200 },
    ];
    expect(told).toEqual(
      expected.map((entry, index) => ({
        ...entry,
        level: 'info',
        // The same id as the client was told, also with an error.
        id: answers[index]!.headers['x-request-id'],
        time: expect.any(String) as string,
        remote: expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string,
        totalMs: number,
      })),
    );
    const { queueMs, runMs, totalMs } = told[2] as Record<'queueMs' | 'runMs' | 'totalMs', number>;
    expect(runMs).toBeGreaterThan(0);
    expect(queueMs + runMs).toBeLessThanOrEqual(totalMs);
  });

  it('tells of streams when they are over, and of clients that leave', async () => {
    await folder.pack('stream');
    await folder.pack('slow');
    const server = await folder.start();
    const port = portOf(server, 'inference');
    await readiness(`http://127.0.0.1:${port}`, ['stream', 'slow']);
    await webRequest({ port, method: 'POST', path: '/predictions/stream' }, '3');
    const leaving = request({ port, host: '127.0.0.1', method: 'POST', path: '/predictions/slow' });
    leaving.on('error', () => {}).end('5000');
    const metrics = async () =>
      (await webRequest({ port: portOf(server, 'metrics'), path: '/metrics' })).body;
    await expect
      .poll(metrics, { timeout: 10_000 })
      .toContain('marline_requests_total{model="slow",version="1.0"} 1');
    leaving.destroy();
    await expect.poll(() => log('access_log.log'), { timeout: 10_000 }).toContain('/predictions/slow');
    await folder.closeAll();
    const of = (path: string) => entries().filter((entry) => entry['path'] === path);
    expect(of('/predictions/stream')).toEqual([
      expect.objectContaining({ status: 200, model: 'stream', runMs: number }),
    ]);
    expect(of('/predictions/slow')).toEqual([expect.objectContaining({ status: 499, model: 'slow' })]);
  });

  it('has no secret of a request', async () => {
    const server = await folder.start({ disable_token_authorization: 'false', enable_model_api: 'true' });
    const keys = readFileSync(join(folder.path, 'key_file.json'), 'utf8');
    const {
      management: { key },
    } = JSON.parse(keys) as { management: { key: string } };
    const headers = { authorization: `Bearer ${key}`, cookie: 'session=s3cret-cookie' };
    const port = portOf(server, 'management');
    const url = 'https://user:s3cret-password@models.example/a.mar?X-Signature=s3cret-signature';
    const registered = await webRequest({
      port,
      method: 'POST',
      path: `/models?url=${encodeURIComponent(url)}`,
      headers,
    });
    expect(registered.status).toBe(404);
    await webRequest(
      { port, method: 'POST', path: '/models', headers: { ...headers, 'content-type': 'application/json' } },
      JSON.stringify({ url }),
    );
    await webRequest({ port, path: `/models?token=${key}`, headers });
    await webRequest({ port, path: '/models', headers: { authorization: 'Bearer s3cret-wrong' } });
    await exchange(
      port,
      `GET http://user:s3cret-password@localhost/models?access_token=s3cret-query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`,
    );
    await folder.closeAll();
    const text = log('access_log.log') + log('model_log.log');
    expect(entries().map(({ method, path }) => `${method as string} ${path as string}`)).toEqual([
      'POST /models',
      'POST /models',
      'GET /models',
      'GET /models',
      'GET /models',
    ]);
    expect(text).not.toContain('s3cret');
    for (const secret of keys.match(/"key": "[^"]+"/g) ?? []) expect(text).not.toContain(secret.slice(8, -1));
  });

  it.each(['json', 'torchserve'])('cannot be written to by a path (%s)', async (format) => {
    const server = await folder.start({ log_format: format });
    const port = portOf(server, 'inference');
    // Node refuses what is not ASCII before there is a request.
    const paths = [
      '/a"b\\c',
      '/%0d%0aGET%20/forged',
      '/\x9b31m\x85\xfc',
      `/${'x'.repeat(5_000)}`,
      '/a?x"\\',
      '*',
    ];
    for (const path of paths)
      await exchange(port, `OPTIONS ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await folder.closeAll();
    const text = log('access_log.log');
    expect(text).toMatch(/^[\n\x20-\x7e]+$/);
    const lines = text.trimEnd().split('\n');
    const told = lines.map((line) =>
      format === 'json'
        ? (JSON.parse(line) as { path: string }).path
        : /"OPTIONS (\S+) HTTP\/1\.1" \d+ \d+$/.exec(line)?.[1],
    );
    expect(told).toEqual(['/a%22b%5Cc', '/%0d%0aGET%20/forged', `/${'x'.repeat(1_023)}`, '/a', '*']);
  });

  it('may have the lines of TorchServe', async () => {
    const socketPath = join(folder.path, 'a.sock');
    const server = await folder.start({ log_format: 'torchserve', inference_address: `unix:${socketPath}` });
    await webRequest({ port: portOf(server, 'management'), path: '/models?limit=1' });
    await webRequest({ socketPath, method: 'POST', path: '/predictions/nosuch' });
    await folder.closeAll();
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}`;
    expect(log('access_log.log')).toMatch(
      new RegExp(
        `^${time} - /127\\.0\\.0\\.1:\\d+ "GET /models HTTP/1\\.1" 200 \\d+\\n${time} - 127\\.0\\.0\\.1 "POST /predictions/nosuch HTTP/1\\.1" 404 \\d+\\n$`,
      ),
    );
  });

  describe('of gRPC', () => {
    const open = async (models: readonly FixtureName[], settings: Readonly<Record<string, string>> = {}) => {
      for (const model of models) await folder.pack(model);
      const server = await folder.start(settings);
      await readiness(`http://127.0.0.1:${portOf(server, 'inference')}`, models);
      const { inference, management } = server.grpc ?? expect.unreachable('gRPC is installed');
      return { server, client: new GrpcClient(inference.port, management.port) };
    };
    const service = 'org.pytorch.serve.grpc.inference.InferenceAPIsService';

    it('has a line for every call, with its id and what the model did', async () => {
      const { client } = await open(['mlp', 'stream'], { max_request_size: '10000' });
      const tensor = {
        model_name: 'mlp',
        inputs: [{ name: 'input', datatype: 'FP32', shape: ['1', '128'] }],
        raw_input_contents: [Buffer.alloc(512).toString('base64')],
      };
      const answers = [
        await client.call(protocolCall('ModelInfer', tensor)),
        await client.call(inferenceCall('StreamPredictions', prediction('stream', '3'))),
        await client.call(inferenceCall('Ping', {})),
        await client.call(managementCall('ListModels', { limit: 1 })),
        await client.call(inferenceCall('Predictions', prediction('nosuch', 'x'))),
        await client.call(inferenceCall('Predictions', prediction('stream', 'x'.repeat(20_000)))),
      ];
      client.close();
      await folder.closeAll();
      const call = (path: string) => ({
        level: 'info',
        time: expect.any(String) as string,
        remote: expect.stringMatching(/^(127\.0\.0\.1|\[::1\]):\d+$/) as string,
        method: 'gRPC',
        path,
        totalMs: number,
      });
      const ran = (model: string) => ({
        id: expect.stringMatching(/^[\da-f-]{36}$/) as string,
        model,
        version: '1.0',
        queueMs: number,
        runMs: number,
      });
      const told = entries().filter(({ method }) => method === 'gRPC');
      const expected = [
        { ...call('inference.GRPCInferenceService/ModelInfer'), ...ran('mlp') },
        { ...call(`${service}/StreamPredictions`), ...ran('stream') },
        call(`${service}/Ping`),
        call('org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels'),
        call(`${service}/Predictions`),
        call(`${service}/Predictions`),
      ];
      expect(told).toEqual(expected.map((entry, index) => ({ ...entry, status: answers[index]!.code })));
      const { OK, INTERNAL, RESOURCE_EXHAUSTED } = status;
      expect(told.map((entry) => entry['status'])).toEqual([OK, OK, OK, OK, INTERNAL, RESOURCE_EXHAUSTED]);
    });

    it('tells of clients that leave, and of those that have waited long enough', async () => {
      const { server, client } = await open(['slow']);
      const slow = inferenceCall('Predictions', prediction('slow', '5000'));
      expect((await client.call(slow, 300)).code).toBe(status.DEADLINE_EXCEEDED);
      const leaving = client.open(slow);
      for (const message of slow.messages) leaving.write(message);
      leaving.end();
      const metrics = async () =>
        (await webRequest({ port: portOf(server, 'metrics'), path: '/metrics' })).body;
      await expect
        .poll(metrics, { timeout: 10_000 })
        .toContain('marline_requests_total{model="slow",version="1.0"} 2');
      leaving.cancel();
      await expect.poll(() => log('access_log.log')).toMatch(/"status":1,/);
      client.close();
      await folder.closeAll();
      expect(entries().filter(({ method }) => method === 'gRPC')).toEqual([
        expect.objectContaining({ status: status.DEADLINE_EXCEEDED, model: 'slow' }),
        expect.objectContaining({ status: status.CANCELLED, model: 'slow' }),
      ]);
    });

    it('may have the lines of TorchServe', async () => {
      const { client } = await open([], { log_format: 'torchserve' });
      await client.call(inferenceCall('Predictions', prediction('nosuch', 'x')));
      client.close();
      await folder.closeAll();
      expect(log('access_log.log')).toMatch(
        new RegExp(String.raw`^\S{23} - /\S+:\d+ "gRPC ${service}/Predictions HTTP/2\.0" 13 \d+\n$`),
      );
    });
  });

  it('is not there when it is not wanted', async () => {
    const server = await folder.start({ log_format: 'none' });
    expect((await webRequest({ port: portOf(server, 'inference'), path: '/ping' })).status).toBe(200);
    await folder.closeAll();
    expect(existsSync(join(folder.path, 'logs'))).toBe(false);
  });

  it('is done without, with a warning, where it cannot be written', async () => {
    writeFileSync(join(folder.path, 'logs'), '');
    const warnings: string[] = [];
    const logger: LoggerService = { log() {}, error() {}, warn: (text: string) => void warnings.push(text) };
    const server = await folder.start({}, logger);
    expect((await webRequest({ port: portOf(server, 'inference'), path: '/ping' })).status).toBe(200);
    expect(warnings).toContainEqual(
      expect.stringMatching(/^There are no log files: .* set log_format=none\.$/),
    );
  });
});

describe('the model log', () => {
  it.each(['thread', 'process'])('has what a JavaScript handler prints in a %s', async (isolation) => {
    await folder.pack('printing');
    const server = await folder.start({
      log_format: 'torchserve',
      models: JSON.stringify({ printing: { '1.0': { isolation } } }),
    });
    const port = portOf(server, 'inference');
    await readiness(`http://127.0.0.1:${port}`, ['printing']);
    const headers = { 'content-type': 'text/plain' };
    const path = '/predictions/printing';
    expect(await webRequest({ port, method: 'POST', path, headers }, 'why\u001b[31m?')).toMatchObject({
      status: 200,
    });
    await expect.poll(() => log('model_log.log')).toMatch(/refused/);
    await folder.closeAll();
    const lines = log('model_log.log')
      .trimEnd()
      .split('\n')
      .map((line) => line.slice('2026-11-22T16:32:50,717 '.length));
    expect(lines.toSorted()).toEqual([
      expect.stringMatching(
        /^\[INFO \] W-\d+-printing_1\.0-stdout MODEL_LOG - asked: why\\u001b\[31m\?$/,
      ) as string,
      expect.stringMatching(
        /^\[WARN \] W-\d+-printing_1\.0-stderr MODEL_LOG - refused: why\\u001b\[31m\?$/,
      ) as string,
    ]);
  });
});

describe('the files of metrics', () => {
  it.each([
    ['log', 'json'],
    ['legacy', 'torchserve'],
  ])('have the lines of the mode %s as TorchServe writes them', async (mode, format) => {
    await folder.pack('mlp');
    const logged: unknown[] = [];
    const logger: LoggerService = {
      log: (line: unknown) => void logged.push(line),
      warn: () => {},
      error: () => {},
    };
    const server = await folder.start({ metrics_mode: mode, log_format: format }, logger);
    const port = portOf(server, 'inference');
    await readiness(`http://127.0.0.1:${port}`, ['mlp']);
    await webRequest({ port, method: 'POST', path: '/v2/models/mlp/infer' }, TENSOR);
    await folder.closeAll();
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}`;
    const lines = log('ts_metrics.log').trimEnd().split('\n');
    for (const line of lines)
      expect(line).toMatch(
        new RegExp(String.raw`^${time} - \w+\.\w+:[\d.E-]+\|#\w+:.*\|#hostname:\S+,timestamp:\d+$`),
      );
    expect(lines).toContainEqual(expect.stringMatching(/ - Requests2XX\.Count:1\.0\|#Level:Host\|/));
    expect(log('model_metrics.log')).toMatch(
      new RegExp(
        String.raw`^${time} - HandlerTime\.ms:[\d.]+\|#ModelName:mlp,Level:Model\|#hostname:\S+,requestID:null,timestamp:\d+\n`,
      ),
    );
    // They stay in the server's log.
    expect(logged).toContain(lines[0]?.slice('2026-11-22T16:32:50,717 - '.length));
  });

  it.each<Record<string, string>>([
    { metrics_mode: 'prometheus' },
    { metrics_mode: 'log', log_format: 'none' },
  ])('are not there with %o', async (settings) => {
    const server = await folder.start(settings, { log() {}, warn() {}, error() {} });
    await webRequest({ port: portOf(server, 'inference'), path: '/ping' });
    await folder.closeAll();
    expect(existsSync(join(folder.path, 'logs/ts_metrics.log'))).toBe(false);
  });
});

describe('marline serve', () => {
  const serve = (args: readonly string[], env: Record<string, string> = {}) =>
    new MarlineProcess(['serve', '--model-store', 'store', '--ncs', ...args], {
      cwd: folder.path,
      env: { ...FREE_PORTS, ...env },
    });

  it('writes its log files where LOG_LOCATION and METRICS_LOCATION say, and says that --log-config has no effect', async () => {
    writeFileSync(join(folder.path, 'log4j2.xml'), '<Configuration/>');
    const server = await serve(['--log-config', 'log4j2.xml'], {
      LOG_LOCATION: 'elsewhere',
      METRICS_LOCATION: 'metrics',
      MARLINE_METRICS_MODE: 'log',
      MARLINE_LOG_FORMAT: 'torchserve',
    }).started();
    expect(server.output).toContain(
      '--log-config has no effect: it is for Log4j; log_format says what lines look like, and LOG_LOCATION where the files are.',
    );
    expect(server.output).toContain('Format of the log files: torchserve (environment)');
    await fetch(`${server.address('Inference')}/ping`);
    expect(await server.stop()).toBe(0);
    expect(readFileSync(join(folder.path, 'elsewhere/access_log.log'), 'utf8')).toContain(
      '"GET /ping HTTP/1.1" 200',
    );
    expect(statSync(join(folder.path, 'elsewhere/model_log.log')).size).toBe(0);
    expect(readFileSync(join(folder.path, 'metrics/ts_metrics.log'), 'utf8')).toContain(
      'Requests2XX.Count:1.0',
    );
    expect(existsSync(join(folder.path, 'logs'))).toBe(false);
  });

  it.each([
    [['--log-config', 'nofile'], {}, '--log-config file not found: '],
    [[], { MARLINE_LOG_FORMAT: 'xml' }, '"xml" is none of json, torchserve, none (log_format'],
  ])('exits 1 with %o and %o', async (args, env, text) => {
    const server = serve(args, env);
    expect(await server.exited()).toBe(1);
    expect(server.output).toContain(`error: `);
    expect(server.output).toContain(text);
  });
});
