import {
  Body,
  Catch,
  Controller,
  Get,
  Injectable,
  Module,
  Post,
  type ArgumentsHost,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { map } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { installRawBody, type PredictionRequest } from '#libs/inference';
import { answer, edgeApp, parametersOf, type EdgeApp } from './edge-app.js';
import { exchange } from '../support/http-exchange.js';

class Teapot extends Error {}

/** Every error of the host in the host's own format. */
@Catch()
class HostFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const status = error instanceof Teapot ? 418 : ((error as { status?: number }).status ?? 599);
    void reply.code(status).send({ host: (error as Error).message });
  }
}

@Injectable()
class HostGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<FastifyRequest>();
    if (headers['x-throw'] !== undefined) throw new Teapot('no');
    return headers['x-refuse'] === undefined;
  }
}

/** Wraps everything, as many gateways do. */
const wrapping: NestInterceptor = {
  intercept: (_context, next) => next.handle().pipe(map((data: unknown) => ({ data }))),
};

@Controller()
class HostController {
  @Post('echo')
  echo(@Body() body: unknown): unknown {
    return { body, type: typeof body };
  }

  @Get('fail')
  fail(): never {
    throw new Error('host failed');
  }
}

@Module({
  controllers: [HostController],
  providers: [
    { provide: APP_FILTER, useClass: HostFilter },
    { provide: APP_GUARD, useClass: HostGuard },
    { provide: APP_INTERCEPTOR, useValue: wrapping },
  ],
})
class HostModule {}

const apps: { close(): Promise<unknown> }[] = [];
afterEach(() => Promise.all(apps.splice(0).map((app) => app.close())));

async function mounted(options: Parameters<typeof edgeApp>[0] = {}): Promise<EdgeApp> {
  const edge = await edgeApp({ host: HostModule, mount: 'ml', ...options });
  apps.push(edge);
  return edge;
}

async function hostAlone(): Promise<number> {
  const app = await NestFactory.create<NestFastifyApplication>(HostModule, new FastifyAdapter(), {
    logger: false,
  });
  apps.push(app);
  await app.listen(0, '127.0.0.1');
  return (app.getHttpServer().address() as { port: number }).port;
}

describe('a host with mounted routes', () => {
  const requests = [
    'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}',
    'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{b',
    'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nab',
    'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\nab',
    'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5\r\n\r\n--b--',
    `POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2000000\r\n\r\n`,
    'GET /fail HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /nosuch HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /fail HTTP/1.1\r\nHost: x\r\nx-refuse: 1\r\n\r\n',
    'PROPFIND /fail HTTP/1.1\r\nHost: x\r\n\r\n',
    'OPTIONS /echo HTTP/1.1\r\nHost: x\r\n\r\n',
    'garbage\r\n\r\n',
  ];

  it('answers its own routes byte for byte as without them', async () => {
    const [alone, { port }] = [await hostAlone(), await mounted()];
    for (const text of requests) {
      const [without, within] = [await exchange(alone, text), await exchange(port, text)];
      const undated = ({ text, closed }: typeof within) => ({
        text: text.replace(/date: .*\r\n/i, ''),
        closed,
      });
      expect(undated(within), text.split('\r\n', 1)[0]).toEqual(undated(without));
    }
  });

  it('refuses predictions by its own guards, in its own format, before a body is read', async () => {
    const asked: PredictionRequest[] = [];
    const edge = await mounted({
      predict: (request) => Promise.resolve(answer('ok')).finally(() => asked.push(request)),
    });
    const head = 'POST /ml/predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n';
    const refused = await edge.exchange(`${head}x-refuse: 1\r\n\r\n`);
    expect(refused.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(refused.text).toMatch(/\{"host":"Forbidden resource"\}$/);
    const thrown = await edge.exchange(`${head}x-throw: 1\r\n\r\n`);
    expect(thrown.text).toMatch(/^HTTP\/1\.1 418 /);
    expect(thrown.text).toMatch(/\{"host":"no"\}$/);
    expect(asked).toEqual([]);
  });

  it('refuses predictions by the configured guards, also when they throw', async () => {
    const guards = [
      {
        canActivate(context: ExecutionContext): boolean {
          const { headers } = context.switchToHttp().getRequest<FastifyRequest>();
          if (headers['x-teapot'] !== undefined) throw new Teapot('tea');
          return headers.authorization !== undefined;
        },
      },
    ];
    const edge = await mounted({ guards });
    for (const path of [
      '/ml/predictions/m',
      '/ml/%70redictions/m',
      '/ml/predictions/m/1.0/x',
      '/ml/explanations/m',
      '/ml/ping',
    ]) {
      const response = await fetch(edge.url + path);
      expect([response.status, await response.json()]).toEqual([403, { host: 'Forbidden resource' }]);
      expect((await fetch(edge.url + path, { headers: { authorization: 'x' } })).status).toBe(200);
    }
    expect(await (await fetch(`${edge.url}/ml/ping`, { headers: { 'x-teapot': '1' } })).json()).toEqual({
      host: 'tea',
    });
  });

  it("shows its guards and hooks the client's content type", async () => {
    const seen: (string | undefined)[] = [];
    const note = ({ headers }: FastifyRequest) => void seen.push(headers['content-type']);
    const edge = await mounted({
      guards: [{ canActivate: (context) => note(context.switchToHttp().getRequest()) === undefined }],
      prepare: (fastify) => {
        fastify.addHook('onRequest', async (request) => note(request));
        fastify.addHook('preParsing', async (request) => note(request));
        fastify.addHook('preValidation', async (request) => note(request));
        fastify.addHook('preHandler', async (request) => note(request));
      },
    });
    await fetch(`${edge.url}/ml/predictions/m`, {
      method: 'POST',
      body: 'x',
      headers: { 'content-type': 'image/png' },
    });
    expect(seen).toEqual(Array(5).fill('image/png'));
  });

  it('reads a body that its hooks decode', async () => {
    const asked: PredictionRequest[] = [];
    const edge = await mounted({
      predict: (request) => Promise.resolve(answer('ok')).finally(() => asked.push(request)),
      prepare: (fastify) =>
        fastify.addHook('preParsing', async (request, _reply, payload) =>
          request.headers['content-encoding'] === undefined
            ? payload
            : payload.pipe((await import('node:zlib')).createGunzip()),
        ),
    });
    const body = (await import('node:zlib')).gzipSync('decoded');
    await fetch(`${edge.url}/ml/predictions/m`, {
      method: 'POST',
      body,
      headers: { 'content-encoding': 'gzip' },
    });
    expect(asked.map(parametersOf)).toEqual([{ body: 'decoded' }]);
  });

  it("does not let its interceptors reshape TorchServe's answers, and keeps its connections open", async () => {
    const { exchange } = await mounted();
    expect((await exchange('GET /ml/predictions/m HTTP/1.1\r\nHost: x\r\n\r\n')).text).toMatch(
      /\r\n\r\n1\.0$/,
    );
    const unknown = await exchange('GET /ml/predictions/nosuch HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(unknown.text).toContain('"type": "ModelNotFoundException"');
    expect(unknown.closed).toBe(false);
  });

  it('serves all planes on its one port', async () => {
    const { url } = await mounted();
    expect((await fetch(`${url}/ml/ping`)).status).toBe(200);
  });
});

describe('installRawBody', () => {
  it('refuses an application that does not run on Fastify and says what to do', () => {
    const adapter = { getType: () => 'express', getInstance: () => ({}) };
    expect(() => installRawBody(adapter)).toThrow(
      expect.objectContaining({
        code: 'OPTIONS_INVALID',
        message: expect.stringContaining('FastifyAdapter') as string,
      }),
    );
  });

  it('has nothing to do in an application context', () => {
    expect(() => installRawBody(undefined)).not.toThrow();
  });

  it('may be called twice', async () => {
    const edge = await mounted({
      prepare: (fastify) => installRawBody({ getType: () => 'fastify', getInstance: () => fastify }),
    });
    const response = await fetch(`${edge.url}/ml/predictions/m`, { method: 'POST', body: 'x' });
    expect(await response.text()).toBe('1.0');
  });
});
