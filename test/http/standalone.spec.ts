import { once } from 'node:events';
import type { Server } from 'node:http';
import { Controller, Get, Module, Put, Res } from '@nestjs/common';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { afterEach, describe, expect, it } from 'vitest';
import {
  TorchServeRoutes,
  sendJson,
  servePlanes,
  torchServeServerOptions,
  usePlanes,
  useTorchServeErrors,
  type PlaneName,
} from '#libs/inference';
import { edgeApp, type EdgeApp } from './edge-app.js';
import { exchange } from '../support/http-exchange.js';

@Controller('models')
@TorchServeRoutes('management')
class ManagementRoutes {
  @Get()
  list(@Res() reply: FastifyReply): void {
    sendJson(reply, 200, { models: [] });
  }

  @Put(':model/:version/set-default')
  setDefault(@Res() reply: FastifyReply): void {
    sendJson(reply, 200, {});
  }
}

@Module({ controllers: [ManagementRoutes] })
class ManagementRoutesModule {}

let edge: EdgeApp;
let management: Server;
let port: number;
afterEach(async () => {
  management.close();
  await edge.close();
});

async function serve(planes: readonly PlaneName[] = ['management']): Promise<void> {
  const prepare = (fastify: FastifyInstance) => {
    usePlanes(fastify);
    useTorchServeErrors(fastify);
    management = servePlanes(fastify, planes);
  };
  edge = await edgeApp({ host: ManagementRoutesModule, server: torchServeServerOptions(), prepare });
  management.listen(0, '127.0.0.1');
  await once(management, 'listening');
  ({ port } = management.address() as { port: number });
}

const get = (path: string, toPort = edge.port, method = 'GET') =>
  exchange(toPort, `${method} ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
const outcome = async (path: string, toPort?: number, method?: string) => {
  const { text, closed } = await get(path, toPort, method);
  const [head = '', body = ''] = text.split('\r\n\r\n');
  const type = /"type": "(.*)"/.exec(body)?.[1];
  return [Number(head.split(' ')[1]), ...(type === undefined ? [] : [type]), ...(closed ? ['closed'] : [])];
};

const NOT_FOUND = [404, 'ResourceNotFoundException', 'closed'];
const NOT_ALLOWED = [405, 'MethodNotAllowedException', 'closed'];

describe('the standalone listeners', () => {
  it('serve their own plane only', async () => {
    await serve();
    expect(await outcome('/ping')).toEqual([200]);
    expect(await outcome('/models')).toEqual(NOT_FOUND);
    expect(await outcome('/models', port)).toEqual([200]);
    expect(await outcome('/ping', port)).toEqual(NOT_FOUND);
    expect(await outcome('/predictions/m', port, 'POST')).toEqual(NOT_FOUND);
  });

  it('serve the open inference protocol with the predictions, and keep its connections after an error', async () => {
    await serve();
    expect(await outcome('/v2/health/live')).toEqual([200]);
    expect(await outcome('/v2/models/m/')).toEqual([200]);
    expect(await outcome('/v2/models/nosuch')).toEqual([404]);
    expect(await outcome('/v2/models/m/infer', edge.port, 'POST')).toEqual([200]);
    expect(await outcome('/v2/models/m/infer')).toEqual([405]);
    expect(await outcome('/v2/health/live', port)).toEqual(NOT_FOUND);
  });

  it('may serve several planes', async () => {
    await serve(['inference', 'management']);
    expect(await outcome('/ping', port)).toEqual([200]);
    expect(await outcome('/models', port)).toEqual([200]);
  });

  it('do not let a client choose the plane', async () => {
    await serve();
    const { text } = await exchange(
      edge.port,
      'GET /models HTTP/1.1\r\nHost: x\r\nplane: management\r\naccept-plane: management\r\n\r\n',
    );
    expect(text).toMatch(/^HTTP\/1\.1 404 /);
  });

  it.each([
    ['GET', '/', NOT_ALLOWED],
    ['GET', '//', NOT_ALLOWED],
    ['POST', '/models', NOT_ALLOWED],
    ['TRACE', '/models/', NOT_ALLOWED],
    ['POST', '/models/m/1.0/set-default', NOT_ALLOWED],
    ['PUT', '/models/m/1.0/other', NOT_FOUND],
    ['GET', '/nosuch', NOT_FOUND],
    ['GET', '/Models', NOT_FOUND],
    ['GET', '/models;x', NOT_FOUND],
    ['GET', '//models', NOT_FOUND],
    ['HEAD', '/models', [405, 'closed']],
    ['OPTIONS', '*', NOT_FOUND],
  ])('answer %s %s as TorchServe does', async (method, path, expected) => {
    await serve();
    expect(await outcome(path, port, method)).toEqual(expected);
  });

  it('take a request line of 4 KiB and a head of 8 KiB', async () => {
    await serve();
    const line = (length: number) => `/ping?${'a'.repeat(length - 'GET /ping? HTTP/1.1'.length)}`;
    expect(await outcome(line(4096))).toEqual([200]);
    expect(await outcome(line(4097))).toEqual([400, 'BadRequestException', 'closed']);
    for (const each of [edge.port, port]) {
      const withHeader = (length: number) =>
        exchange(each, `GET /nosuch HTTP/1.1\r\nHost: x\r\nX-Big: ${'b'.repeat(length)}\r\n\r\n`);
      expect((await withHeader(8_000)).text).toMatch(/^HTTP\/1\.1 404 /);
      expect((await withHeader(8_192)).text).toMatch(
        /^HTTP\/1\.1 400 [^]*"message": "Invalid HTTP message\."/,
      );
    }
  });

  it.each(['/ping/', '/predictions/m/', '/predictions/m/1.0/', `/predictions/m/1.0/${'x'.repeat(300)}`])(
    'know %s',
    async (path) => {
      await serve();
      expect(await outcome(path)).toEqual([200]);
    },
  );

  it('ask the only model where the path names none', async () => {
    await serve();
    expect(await outcome('/models//invoke', edge.port, 'POST')).toEqual([200]);
    expect(await outcome('/models//invoke?x=1', edge.port, 'POST')).toEqual([200]);
    expect(await outcome('/models//invoked', edge.port, 'POST')).toEqual(NOT_FOUND);
  });

  it('answer a health check without a Host header', async () => {
    await serve(['inference']);
    for (const toPort of [edge.port, port])
      expect((await exchange(toPort, 'GET /ping HTTP/1.1\r\n\r\n')).text).toMatch(/^HTTP\/1\.1 200 /);
  });

  it.each(['/predictions', '/predictions/'])('do not know %s', async (path) => {
    await serve();
    expect(await outcome(path)).toEqual(NOT_FOUND);
  });

  it.each([
    ['/ping%zz', 403, 'IllegalArgumentException'],
    ['/predictions/m%', 403, 'IllegalArgumentException'],
    ['/%', 403, 'IllegalArgumentException'],
    ['/predictions/%ff', 400, 'BadRequestException'],
    [`/predictions/${'n'.repeat(2000)}`, 400, 'BadRequestException'],
  ])('answer the unreadable path %s with %d %s', async (path, status, type) => {
    await serve();
    expect((await outcome(path)).slice(0, 2)).toEqual([status, type]);
  });

  it.each([
    ['garbage', 'garbage\r\n\r\n'],
    ['a space before a colon', 'GET /ping HTTP/1.1\r\nHost : x\r\n\r\n'],
    ['two lengths', 'POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy'],
    ['a negative length', 'POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nx'],
    [
      'a length beside chunks',
      'POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
    ],
    ['a header name without end', `GET /ping HTTP/1.1\r\nHost: x\r\n${'n'.repeat(100_000)}: x\r\n\r\n`],
    ['a path without end', `GET /ping?${'q'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
  ])('answer what is no HTTP with 400 and close: %s', async (_name, text) => {
    await serve();
    for (const toPort of [edge.port, port]) {
      const answer = await exchange(toPort, text);
      expect(answer.text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
      expect(answer.text).toContain('"message": "Invalid HTTP message."');
      expect(answer.closed).toBe(true);
    }
  });

  it('close after an error, once the request is here, and stay open after success', async () => {
    await serve();
    expect(await outcome('/predictions/nosuch', edge.port, 'POST')).toEqual([
      404,
      'ModelNotFoundException',
      'closed',
    ]);
    const head = 'POST /predictions/nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: ';
    const short = await exchange(edge.port, `${head}4\r\n\r\n1234`);
    expect([short.text.slice(9, 12), short.closed]).toEqual(['404', true]);
    const long = await exchange(edge.port, `${head}900000\r\n\r\n1234`);
    expect([long.text.slice(9, 12), long.closed]).toEqual(['404', false]);
    expect(await outcome('/predictions/m')).toEqual([200]);
  });
});
