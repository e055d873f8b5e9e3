import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../src/server.js';
import { ServerFolder } from '../standalone/open-server.js';
import { portOf } from '../standalone/server-process.js';
import { exchange } from '../support/http-exchange.js';

const folder = new ServerFolder();
let server: RunningServer;
beforeAll(async () => {
  await folder.pack('mlp');
  server = await folder.start({ disable_token_authorization: 'false', enable_model_api: 'true' });
});
afterAll(() => folder.remove());

type Plane = 'inference' | 'management' | 'metrics';

function keys(): Record<'inference' | 'management' | 'API', { readonly key: string }> {
  return JSON.parse(readFileSync(join(folder.path, 'key_file.json'), 'utf8')) as ReturnType<typeof keys>;
}

async function ask(plane: Plane, method: string, path: string, key?: string) {
  const url = `http://127.0.0.1:${portOf(server, plane)}${path}`;
  const response = await fetch(url, {
    method,
    headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
  });
  return { status: response.status, text: await response.text() };
}

const REFUSAL = 'Token Authorization failed. Token either incorrect, expired, or not provided correctly';
const INFERENCE = [
  '/ping',
  '/ping/x',
  '/predictions/mlp',
  '/predictions/mlp/1.0/x',
  '/explanations/mlp',
  '/invocations',
  '/models/mlp/invoke',
  '/mlp/predict',
  '/v1/models/mlp:predict',
  '/v2',
  '/v2/health/live',
  '/v2/models/mlp',
  '/v2/models/mlp/infer',
  '/health/live',
  '/health/ready',
  '/nosuch',
];
const MANAGEMENT = [
  '/models',
  '/models/plan',
  '/models/mlp',
  '/models/mlp/1.0',
  '/models/mlp/1.0/set-default',
  '/models/mlp/traffic',
  '/models/%6dlp',
  '/v1/models/mlp',
  '/workflows',
  '/nosuch',
];
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'];

describe('without the key of its API', () => {
  it.each([
    ['inference', INFERENCE],
    ['management', MANAGEMENT],
  ] as const)('no request reaches the %s API, whatever its method', async (plane, paths) => {
    const { API, inference, management } = keys();
    const others = [undefined, API.key, plane === 'inference' ? management.key : inference.key];
    for (const path of paths) {
      for (const method of METHODS) {
        for (const key of others) {
          const { status, text } = await ask(plane, method, path, key);
          expect([method, path, status, text.includes(REFUSAL)]).toEqual([method, path, 400, true]);
        }
      }
    }
    expect((await ask('management', 'GET', '/models', management.key)).text).toContain('"mlp"');
  });

  it('the documents and the metrics port can be asked', async () => {
    for (const plane of ['inference', 'management'] as const) {
      expect((await ask(plane, 'OPTIONS', '/')).status).toBe(200);
      expect((await ask(plane, 'GET', '/api-description')).status).toBe(200);
    }
    expect((await ask('metrics', 'GET', '/nosuch')).status).toBe(404);
  });

  it('a large body is not read', async () => {
    const head =
      'POST /predictions/mlp HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n';
    const { text } = await exchange(portOf(server, 'inference'), head);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('a token in the query or in two fields is none', async () => {
    const { key } = keys().inference;
    expect((await ask('inference', 'GET', `/ping?authorization=Bearer%20${key}&token=${key}`)).status).toBe(
      400,
    );
    const twice = `GET /ping HTTP/1.1\r\nHost: x\r\nAuthorization: x\r\nAuthorization: Bearer ${key}\r\n\r\n`;
    expect((await exchange(portOf(server, 'inference'), twice)).text).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('the token API', () => {
  it('renews with its own key only, and the old key is worth nothing then', async () => {
    const before = keys();
    for (const key of [undefined, before.management.key, before.inference.key])
      expect((await ask('management', 'GET', '/token?type=management', key)).status).toBe(400);
    expect(keys()).toEqual(before);
    expect(await ask('management', 'GET', '/token?type=management', before.API.key)).toEqual({
      status: 200,
      text: '\n',
    });
    expect((await ask('management', 'GET', '/models', before.management.key)).status).toBe(400);
    expect((await ask('management', 'GET', '/models', keys().management.key)).status).toBe(200);
  });

  it('is not on the other ports', async () => {
    expect((await ask('inference', 'GET', '/token?type=inference', keys().API.key)).status).toBe(400);
    expect((await ask('metrics', 'GET', '/token?type=inference', keys().API.key)).status).toBe(404);
  });
});
