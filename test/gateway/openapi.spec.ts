import { Controller, Get, Module, Param } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { validate } from '@readme/openapi-parser';
import type { FastifyInstance, RouteOptions } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveApp, type ServedApp } from '../support/serve-app.js';

@Controller('orders')
class OrdersController {
  @Get(':id')
  order(@Param('id') id: string): string {
    return id;
  }
}

const routes: RouteOptions[] = [];

/** Notes every route of the application as Fastify gets it. */
@Module({})
class NotingModule {
  constructor(private readonly host: HttpAdapterHost) {}

  configure(): void {
    const fastify = this.host.httpAdapter.getInstance<FastifyInstance>();
    fastify.addHook('onRoute', (route) => void routes.push({ ...route }));
  }
}

/** Other spellings of what is in the document. */
const LEFT_OUT = ['/ml/ping/{path}', '/ml/metrics/{path}'];
const LEFT_OUT_GET = '/ml/models/{model}/{version}/set-default';

let served: ServedApp;
let document: OpenAPIObject;
beforeAll(async () => {
  served = await serveApp({
    mount: 'ml',
    management: true,
    metrics: true,
    controllers: [OrdersController],
    modules: [{ module: NotingModule }],
  });
  const config = new DocumentBuilder().setTitle('Shop').setVersion('1.0').build();
  document = SwaggerModule.createDocument(served.app, config);
});
afterAll(() => served.close());

const methodsOf = (path: string) =>
  Object.keys(document.paths[path] ?? {}).map((method) => method.toUpperCase());

/** Every route by the path that OpenAPI writes, with its methods. */
function servedRoutes(): Map<string, Set<string>> {
  const byPath = new Map<string, Set<string>>();
  for (const { url, method } of routes) {
    const path = url.replaceAll(/:(\w+)/g, '{$1}').replace('*', '{path}');
    const methods = byPath.get(path) ?? new Set();
    for (const each of [method].flat()) if (path !== LEFT_OUT_GET || each === 'PUT') methods.add(each);
    byPath.set(path, methods);
  }
  return byPath;
}

describe("a gateway's document", () => {
  it('is valid', async () => {
    const { valid, ...found } = await validate(structuredClone(document) as never);
    expect([valid, found]).toEqual([true, expect.objectContaining({ warnings: [] })]);
  });

  it("keeps the host's own routes", () => {
    expect(methodsOf('/orders/{id}')).toEqual(['GET']);
  });

  it('has every route of Marline, and none that is not there', () => {
    const all = servedRoutes();
    expect(Object.keys(document.paths).toSorted()).toEqual(
      [...all.keys()].filter((path) => !LEFT_OUT.includes(path)).toSorted(),
    );
    for (const [path, methods] of all) {
      if (LEFT_OUT.includes(path)) continue;
      const documented = methodsOf(path);
      expect([...methods]).toEqual(expect.arrayContaining(documented));
      // A route for every method is documented by the one that it is meant for.
      if (methods.has('TRACE')) expect([path, documented.length]).toEqual([path, 1]);
      else
        expect([path, documented.toSorted()]).toEqual([
          path,
          [...methods].filter((method) => method !== 'HEAD' && method !== 'OPTIONS').toSorted(),
        ]);
    }
  });

  it('says of every route of Marline what it does, takes and answers', () => {
    const ids = new Set<string>();
    for (const [path, item] of Object.entries(document.paths)) {
      if (!path.startsWith('/ml/')) continue;
      for (const [method, operation] of Object.entries(item as Record<string, OpenApiOperation>)) {
        const { operationId, description, parameters = [], responses, tags } = operation;
        expect([path, method, description]).toEqual([path, method, expect.stringMatching(/\.$/)]);
        expect(ids.has(operationId)).toBe(false);
        ids.add(operationId);
        const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        expect(parameters.filter((each) => each.in === 'path').map(({ name }) => name)).toEqual(inPath);
        expect(responses).toHaveProperty('200');
        expect(tags).toEqual([expect.stringMatching(/^Marline (inference|management|metrics)$/)]);
      }
    }
    expect(ids.size).toBeGreaterThan(30);
  });

  it('names bodies and statuses', () => {
    expect(document.paths['/ml/models/{model}/traffic']?.put).toMatchObject({
      requestBody: {
        required: true,
        content: { 'application/json': { schema: { additionalProperties: { type: 'number' } } } },
      },
      responses: { 200: {}, 400: {}, 404: {} },
    });
    expect(document.paths['/ml/v2/models/{model}/infer']?.post).toMatchObject({
      requestBody: { content: { 'application/json': { schema: { required: ['inputs'] } } } },
      responses: { 429: {} },
    });
  });
});

interface OpenApiOperation {
  readonly operationId: string;
  readonly description: string;
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly responses: object;
  readonly tags: readonly string[];
}
