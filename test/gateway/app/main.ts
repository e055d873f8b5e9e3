import { type DynamicModule, type LoggerService, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';

const LARGEST_JSON_BYTES = 2048;

/** The gateway's own settings of Fastify, which nothing that it mounts may change. */
export async function createGateway(
  module: Type | DynamicModule,
  logger: LoggerService | false = false,
): Promise<NestFastifyApplication> {
  const app = await NestFactory.create<NestFastifyApplication>(module, new FastifyAdapter(), {
    logger,
    abortOnError: false,
  });
  app.useBodyParser('application/json', { bodyLimit: LARGEST_JSON_BYTES });
  const fastify = app.getHttpAdapter().getInstance();
  fastify.addContentTypeParser('text/csv', { parseAs: 'string' }, (_request, body, done) => {
    done(
      null,
      String(body)
        .trim()
        .split('\n')
        .map((row) => row.split(',')),
    );
  });
  fastify.addHook('onRequest', (_request, reply, done) => {
    void reply.header('x-gateway', 'shop');
    done();
  });
  return app;
}
