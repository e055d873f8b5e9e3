import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openGateway, type Ask, type OpenGateway } from './open-gateway.js';

let gateway: OpenGateway;
beforeAll(async () => {
  gateway = await openGateway();
});
afterAll(() => gateway.close());

const order = { customer: 'regular', amount: 100 };
const PREDICTION: [string, Ask] = ['/ml/predictions/fraud', { json: order }];
const ROUTES: readonly [string, Ask?][] = [
  PREDICTION,
  ['/ml/predictions/fraud/2.0', { json: order }],
  ['/ml/predictions/nobody', { json: order }],
  ['/ml/explanations/fraud', { json: order }],
  ['/ml/ping'],
  ['/ml/health/live'],
  ['/ml/health/ready'],
  ['/ml/health/models/fraud'],
  ['/ml/v2'],
  ['/ml/v2/health/ready'],
  ['/ml/v2/models/fraud'],
  ['/ml/v2/models/fraud/infer', { json: { inputs: [] } }],
  ['/ml/models'],
  ['/ml/models/fraud'],
  ['/ml/models?url=fraud.mar', { method: 'POST' }],
  ['/ml/models/fraud?min_worker=2', { method: 'PUT' }],
  ['/ml/models/fraud/2.0/set-default', { method: 'PUT' }],
  ['/ml/models/fraud', { method: 'DELETE' }],
];

describe("the routes of Marline behind the gateway's guards", () => {
  it.each(ROUTES)('%s is refused without a key, in the format of the gateway', async (path, how) => {
    const answer = await gateway.ask(path, { ...how, key: null });
    expect(answer.status).toBe(401);
    expect(answer.json()).toMatchObject({
      type: 'https://shop.example/problems/401',
      detail: 'Send a valid x-api-key.',
    });
  });

  it.each(ROUTES)('%s is refused by the guard of the option when the scope is missing', async (path, how) => {
    const answer = await gateway.ask(path, { ...how, key: 'shop-key' });
    expect(answer.status).toBe(403);
    expect(answer.json()).toMatchObject({
      detail: expect.stringContaining('This needs the scope') as string,
    });
  });

  it.each([
    '//ml/models',
    '/ml//models',
    '/ml/models/',
    '/ML/models',
    '/ml/models;a=b',
    '/ml/%6dodels',
    '/hello/../ml/models',
  ])('is not passed by another spelling: %s', async (path) => {
    const answer = await gateway.ask(path, { key: null });
    expect([401, 404]).toContain(answer.status);
  });

  it('stays refused for management when the key may only predict', async () => {
    expect((await gateway.ask('/ml/models/fraud', { method: 'DELETE', key: 'client-key' })).status).toBe(403);
    expect((await gateway.ask(...withKey(PREDICTION, 'client-key'))).status).toBe(200);
  });

  it('is open for those who may', async () => {
    expect((await gateway.ask('/ml/models')).json()).toEqual({
      models: [{ modelName: 'fraud', modelUrl: 'fraud.mar' }],
    });
    expect((await gateway.ask('/ml/ping')).json()).toEqual({ status: 'Healthy' });
    expect((await gateway.ask(...PREDICTION)).json()).toMatchObject({ version: '1.0' });
  });

  it('asks the guard before it reads the body', async () => {
    const answer = await gateway.ask('/ml/predictions/fraud', {
      key: 'shop-key',
      body: new Uint8Array(1_000_000),
      type: 'image/png',
    });
    expect(answer.status).toBe(403);
  });

  it('answers its own errors in the shape of TorchServe', async () => {
    const answer = await gateway.ask('/ml/predictions/nobody', { json: order });
    expect(answer.status).toBe(404);
    expect(answer.json()).toEqual({
      code: 404,
      type: 'ModelNotFoundException',
      message: 'Model not found: nobody',
    });
  });
});

describe('the health routes', () => {
  it('tell what each model is doing, in the shape of terminus', async () => {
    const ready = await gateway.ask('/ml/health/ready');
    expect(ready.status).toBe(200);
    expect(ready.headers['cache-control']).toContain('no-store');
    expect(ready.json()).toMatchObject({
      status: 'ok',
      details: { server: { status: 'up' }, fraud: { status: 'up', state: 'ready', readyWorkers: 1 } },
    });
    expect((await gateway.ask('/ml/health/live')).json()).toMatchObject({ status: 'ok' });
    expect((await gateway.ask('/ml/health/models/fraud')).json()).toMatchObject({
      details: { fraud: { version: '1.0' } },
    });
    expect((await gateway.ask('/ml/health/models/nobody')).status).toBe(404);
  });
});

function withKey([path, how]: [string, Ask], key: string): [string, Ask] {
  return [path, { ...how, key }];
}
