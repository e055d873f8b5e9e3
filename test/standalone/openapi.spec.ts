import { validate } from '@readme/openapi-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../src/server.js';
import { ServerFolder } from './open-server.js';
import { portOf } from './server-process.js';

const folder = new ServerFolder();
let server: RunningServer;
beforeAll(async () => {
  server = await folder.start({ disable_token_authorization: 'false' });
});
afterAll(() => folder.remove());

type Plane = 'inference' | 'management' | 'metrics';

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly tags: readonly string[] }>>>>;
}

async function documentOf(plane: Plane): Promise<Document> {
  const response = await fetch(`http://127.0.0.1:${portOf(server, plane)}/openapi.json`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
  return (await response.json()) as Document;
}

describe('/openapi.json of the standalone server', () => {
  it.each(['inference', 'management', 'metrics'] as const)(
    'on the %s port is valid, open, and has the routes of that port alone',
    async (plane) => {
      const document = await documentOf(plane);
      const { valid, ...found } = await validate(structuredClone(document) as never);
      expect([valid, found]).toEqual([true, expect.objectContaining({ warnings: [] })]);
      const operations = Object.values(document.paths).flatMap((item) => Object.values(item));
      expect(new Set(operations.flatMap(({ tags }) => tags))).toEqual(new Set([`Marline ${plane}`]));
    },
  );

  it('has what only the standalone server has', async () => {
    const [inference, management, metrics] = await Promise.all([
      documentOf('inference'),
      documentOf('management'),
      documentOf('metrics'),
    ]);
    expect(Object.keys(inference.paths)).toEqual(
      expect.arrayContaining(['/predictions/{model}', '/v1/models/{target}', '/v2/models/{model}/infer']),
    );
    expect(Object.keys(management.paths)).toEqual(
      expect.arrayContaining(['/models', '/models/{model}/traffic', '/v1/models/{model}', '/token']),
    );
    expect(Object.keys(metrics.paths)).toEqual(['/metrics']);
  });

  it("leaves TorchServe's document at its own route", async () => {
    const url = `http://127.0.0.1:${portOf(server, 'management')}/api-description`;
    expect(await (await fetch(url)).json()).toMatchObject({
      openapi: '3.0.1',
      info: { title: 'TorchServe APIs' },
    });
  });
});
