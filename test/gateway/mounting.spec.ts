import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GatewayModule } from './app/gateway.module.js';
import { createGateway } from './app/main.js';
import { asking, openGateway, type Answer, type Ask, type OpenGateway } from './open-gateway.js';

let mounted: OpenGateway;
let plain: { app: NestFastifyApplication; ask: OpenGateway['ask'] };

beforeAll(async () => {
  mounted = await openGateway();
  const app = await createGateway(GatewayModule);
  await app.listen(0, '127.0.0.1');
  plain = { app, ask: asking(await app.getUrl()) };
});
afterAll(async () => {
  await plain.app.close();
  await mounted.close();
});

const big = { text: 'x'.repeat(3000) };
const REQUESTS: readonly [string, string, Ask?][] = [
  ['a public route', '/hello', { key: null }],
  ['a route behind the guard', '/whoami', { key: 'client-key' }],
  ['no key', '/items/1', { key: null }],
  ['a wrong key', '/items/1', { key: 'guess' }],
  ['a route with its own header', '/items/2'],
  ['an HttpException', '/items/9'],
  ['an unexpected error', '/broken'],
  ['a query', '/models?brand=acme'],
  ['HEAD', '/items/1', { method: 'HEAD' }],
  ['OPTIONS', '/items/1', { method: 'OPTIONS' }],
  ['a wrong method', '/items/1', { method: 'DELETE' }],
  ['a JSON object', '/items', { json: { name: 'desk' } }],
  ['JSON with a charset', '/items', { body: '{"name":"désk"}', type: 'application/json; charset=utf-8' }],
  ['broken JSON', '/items', { body: '{"name":', type: 'application/json' }],
  ['an empty JSON body', '/items', { method: 'POST', body: '', type: 'application/json' }],
  ['JSON above the limit', '/items', { json: big }],
  ['a prototype in JSON', '/items', { body: '{"__proto__":{"admin":true}}', type: 'application/json' }],
  ['text', '/items', { body: 'desk', type: 'text/plain' }],
  ['a form', '/items', { body: 'name=desk', type: 'application/x-www-form-urlencoded' }],
  ['the custom parser', '/items/import', { body: 'desk,1\nshelf,2\n', type: 'text/csv' }],
  ['a type without parser', '/items', { body: Uint8Array.of(1, 2, 3), type: 'application/octet-stream' }],
  ['an image', '/items', { body: Uint8Array.of(137, 80), type: 'image/png' }],
  ['multipart', '/items', { body: '--b\r\n\r\n--b--\r\n', type: 'multipart/form-data; boundary=b' }],
  ['no content type', '/items', { method: 'POST', body: Uint8Array.of(1) }],
  ["Marline's own type", '/items', { body: Uint8Array.of(1), type: 'application/vnd.marline.raw-body' }],
  ['an unknown path', '/nowhere'],
  ['an unknown path with a body', '/nowhere', { json: { a: 1 } }],
  ['an unknown path without a key', '/nowhere', { key: null }],
  ["Marline's paths outside the mount", '/predictions/fraud', { json: { amount: 1 } }],
  ["Marline's health outside the mount", '/health/ready'],
  ["TorchServe's ping outside the mount", '/ping'],
  ['the open inference protocol outside the mount', '/v2/health/live'],
  ['the token route of TorchServe', '/token'],
  ['an unknown path under the mount', '/ml'],
  ['a path that is encoded wrongly', '/items/%zz'],
];

describe('mounting Marline', () => {
  it.each(REQUESTS)('leaves the gateway as it was: %s', async (_what, path, how) => {
    const [without, withMarline] = await Promise.all([plain.ask(path, how), mounted.ask(path, how)]);
    expect(comparable(withMarline)).toEqual(comparable(without));
  });

  it('compares requests that really differ from each other', async () => {
    const answers = await Promise.all(REQUESTS.map(([, path, how]) => plain.ask(path, how)));
    const statuses = new Set(answers.map(({ status }) => status));
    expect(statuses).toEqual(new Set([200, 201, 400, 401, 404, 413, 415, 500]));
  });

  it("answers the gateway's 404, and not Marline's, under the mount too", async () => {
    const answer = await mounted.ask('/ml/nothing');
    expect(answer.status).toBe(404);
    expect(answer.json()).toMatchObject({
      type: 'https://shop.example/problems/404',
      instance: '/ml/nothing',
    });
  });

  it('takes any content type on its own routes', async () => {
    for (const type of [
      'application/json',
      'text/csv',
      'application/octet-stream',
      'image/png',
      'nonsense',
    ]) {
      const answer = await mounted.ask('/ml/predictions/fraud', {
        body: '{"customer":"new","amount":100}',
        type,
      });
      expect({ type, status: answer.status }).toEqual({
        type,
        status: type === 'application/json' ? 200 : 400,
      });
    }
  });

  it("is not bound by the gateway's JSON limit on its own routes", async () => {
    const answer = await mounted.ask('/ml/predictions/fraud', {
      json: { customer: 'new', amount: 100, ...big },
    });
    expect(answer.status).toBe(200);
  });
});

function comparable({ status, headers, body }: Answer): unknown {
  const { date, ...rest } = headers;
  expect(date === undefined).toBe(false);
  return { status, headers: rest, body };
}
