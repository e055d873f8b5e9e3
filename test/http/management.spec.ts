import { Global, Module, ValidationPipe, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { APP_PIPE, HttpAdapterHost, NestFactory, RouterModule } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyRequest } from 'fastify';
import { afterEach, describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { ModelRegistry, getAccessGuardsToken, installRawBody } from '#libs/inference';
import { ManagementModule } from '#libs/management';
import { exchange } from '../support/http-exchange.js';

interface Options {
  readonly guards?: readonly CanActivate[];
  readonly enableModelApi?: boolean;
  readonly registry?: object;
}

let app: NestFastifyApplication;
let url: string;
let asked: unknown[][];
afterEach(() => app.close());

const described = {
  name: 'a/b',
  version: '1.0',
  settings: { minWorkers: 1, maxWorkers: 1, config: {} },
  archive: { url: 'm.mar' },
  workers: () => [
    { id: 9000, startedAt: 0, state: 'busy', pid: 7, gpuId: 1 },
    { id: 9001, startedAt: 0, state: 'quarantined', pid: 7, gpuId: null },
  ],
  queue: () => ({ remainingCapacity: 100, pendingRequests: 0 }),
  canAnswer: true,
};

/** The management routes under `/ml` in a gateway that validates everything strictly, over a registry that notes its calls. */
async function serve({ guards, enableModelApi, registry = {} }: Options = {}): Promise<void> {
  asked = [];
  const note =
    (name: string, result: unknown = described) =>
    (...args: unknown[]) => {
      asked.push([name, ...args]);
      return result;
    };
  const calls = Object.fromEntries(
    ['register', 'get', 'scale', 'unregister', 'setDefault', 'setTraffic'].map((name) => [name, note(name)]),
  );

  @Global()
  @Module({
    providers: [
      {
        provide: ModelRegistry,
        useValue: {
          ...calls,
          names: () => [],
          startupModels: new Set(),
          traffic: () => undefined,
          versions: () => [described],
          ...registry,
        },
      },
      { provide: getAccessGuardsToken(), useValue: guards },
      {
        provide: APP_PIPE,
        useValue: new ValidationPipe({
          whitelist: true,
          forbidNonWhitelisted: true,
          forbidUnknownValues: true,
        }),
      },
    ],
    exports: [ModelRegistry, getAccessGuardsToken()],
  })
  class HostModule {
    constructor(private readonly host: HttpAdapterHost) {}

    configure(): void {
      installRawBody(this.host.httpAdapter);
    }
  }
  const management =
    enableModelApi === undefined ? ManagementModule : ManagementModule.register({ enableModelApi });
  @Module({
    imports: [HostModule, management, RouterModule.register([{ path: 'ml', module: ManagementModule }])],
  })
  class Gateway {}

  app = await NestFactory.create<NestFastifyApplication>(Gateway, new FastifyAdapter(), { logger: false });
  await app.listen(0, '127.0.0.1');
  url = `http://127.0.0.1:${(app.getHttpServer().address() as { port: number }).port}/ml`;
}

const call = (method: string, path: string, init: RequestInit = {}) => fetch(url + path, { method, ...init });
const json = (body: string) => ({ body, headers: { 'content-type': 'application/json; charset=utf-8' } });

describe('management in a gateway', () => {
  it('passes on what was asked for', async () => {
    await serve();
    await call('POST', '/models?url=m.mar&batch_size=4');
    await call('POST', '/models?url=no.mar', json('{"url": "j.mar", "synchronous": "false"}'));
    await call('PUT', '/models/m/2.0?min_worker=2&max_worker=3&synchronous=true');
    await call('PUT', '/models/m?model_version=3.0', { body: 'x', headers: { 'content-type': 'image/png' } });
    await call('PUT', '/models/m/2.0/set-default', json('{broken'));
    await call('DELETE', '/models/m');
    await call('DELETE', '/models/a%2Fb/2.0');
    await call('PUT', '/models/a%2Fb/traffic', { body: '{"1.0": 1}' });
    expect(asked).toEqual([
      ['register', expect.objectContaining({ url: 'm.mar', batchSize: 4, synchronous: true })],
      ['register', expect.objectContaining({ url: 'j.mar', synchronous: false })],
      ['scale', 'm', '2.0', 2, 3, { synchronous: true }],
      ['scale', 'm', '3.0', 1, 1, { synchronous: false }],
      ['setDefault', 'm', '2.0'],
      ['unregister', 'm', undefined],
      ['unregister', 'a/b', '2.0'],
      ['setTraffic', 'a/b', { '1.0': 1 }],
    ]);
  });

  it('describes workers in the words of TorchServe', async () => {
    await serve();
    const [description] = (await (await call('GET', '/models/a%2Fb')).json()) as { workers: unknown }[];
    const gone = { startTime: '1970-01-01T00:00:00.000Z', memoryUsage: 0, pid: 7 };
    expect(description?.workers).toEqual([
      { ...gone, id: '9000', status: 'READY', gpu: true, gpuUsage: 'failed to obtained gpu usage' },
      { ...gone, id: '9001', status: 'UNLOADING', gpu: false, gpuUsage: 'N/A' },
    ]);
  });

  it('refuses every route, however it is written, without its guard', async () => {
    const canActivate = (context: ExecutionContext) =>
      context.switchToHttp().getRequest<FastifyRequest>().headers.authorization === 'yes';
    await serve({ guards: [{ canActivate }] });
    const routes = [
      ['POST', '/models?url=m.mar'],
      ['POST', '/models/plan?url=m.mar'],
      ['GET', '/models'],
      ['HEAD', '/models'],
      ['GET', '/models/m'],
      ['GET', '/models/m/all'],
      ['GET', '/%6dodels/m'],
      ['GET', '/models/%6d;x'],
      ['PUT', '/models/m'],
      ['PUT', '/models/m/1.0'],
      ['PUT', '/models/m/1.0/%73et-default'],
      ['DELETE', '/models/m'],
      ['DELETE', '/models/m/1.0'],
      ['GET', '/models/m/traffic'],
      ['PUT', '/models/m/traffic'],
      ['DELETE', '/models/m/%74raffic'],
    ] as const;
    for (const [method, path] of routes) {
      expect([method, path, (await call(method, path)).status]).toEqual([method, path, 403]);
    }
    for (const path of ['//models', '/models/', '/Models', '/models//m']) {
      expect([path, (await call('GET', path)).status]).not.toEqual([path, 200]);
    }
    expect(asked).toEqual([]);
    expect((await call('GET', '/models', { headers: { authorization: 'yes' } })).status).toBe(200);
  });

  it('registers and unregisters only where that is allowed', async () => {
    await serve({ enableModelApi: false });
    for (const [method, path] of [
      ['POST', '/models?url=m.mar'],
      ['POST', '/models'],
      ['POST', '/models/plan?url=m.mar'],
      ['DELETE', '/models/m'],
    ] as const) {
      const response = await call(method, path);
      expect([response.status, await response.json()]).toEqual([
        405,
        {
          code: 405,
          type: 'MethodNotAllowedException',
          message: 'Requested method is not allowed, please refer to API document.',
        },
      ]);
    }
    await call('PUT', '/models/m');
    expect(asked.map(([name]) => name)).toEqual(['scale']);
  });

  it.each([
    ['{broken', 'The body is not valid JSON.'],
    ['', 'The body is not valid JSON.'],
    ['[]', 'The body is not a JSON object with the parameters.'],
    ['null', 'The body is not a JSON object with the parameters.'],
    [
      '{"url": "m", "batch_size": "abc"}',
      'Parameter batch_size is an integer from -2147483648 to 2147483647.',
    ],
    ['{"__proto__": {"url": "m"}}', 'Parameter url is required.'],
  ])('refuses the body %s with a clear text', async (body, message) => {
    await serve();
    const response = await call('POST', '/models', json(body));
    expect([response.status, await response.json()]).toEqual([
      400,
      { code: 400, type: 'BadRequestException', message },
    ]);
  });

  it('refuses a JSON body that is no registration by its size', async () => {
    await serve();
    const { port } = app.getHttpServer().address() as { port: number };
    const head =
      'POST /ml/models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 70000\r\n\r\n';
    expect((await exchange(port, head)).text).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('tells why workers did not start, without paths of the server', async () => {
    const cause = new MarlineError('MODEL_INVALID', {
      reason: 'Load model from /srv/cache/ab12/m.onnx failed',
    });
    const register = () =>
      Promise.reject(new MarlineError('WORKERS_NOT_STARTED', { model: 'm', version: '1.0' }, { cause }));
    await serve({ registry: { register } });
    expect(await (await call('POST', '/models?url=m.mar')).json()).toEqual({
      code: 500,
      type: 'InternalServerException',
      message: 'Failed to start workers for model m version: 1.0',
      cause: 'Load model from m.onnx failed',
    });
  });

  it('tells nothing about an unknown error', async () => {
    await serve({
      registry: {
        names: () => {
          throw new TypeError('secret');
        },
      },
    });
    const response = await call('GET', '/models');
    expect([response.status, await response.text()]).toEqual([500, expect.not.stringContaining('secret')]);
  });
});
