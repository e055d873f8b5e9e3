import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Order, Risk } from './app/fraud.handler.js';
import { openGateway, type OpenGateway } from './open-gateway.js';

let gateway: OpenGateway;
beforeAll(async () => {
  gateway = await openGateway();
});
afterAll(() => gateway.close());

const honest = { customer: 'regular', amount: 100 };
const fraud = { customer: 'new', amount: 1000 };
const stuck = { customer: 'stuck', amount: 100 };

describe('a model that the application injects', () => {
  it('answers with what its handler made of the services of the gateway', async () => {
    // Logits of the first version: 0.01 · amount − 0.5 · orders − 5.
    const regular = (await gateway.ask('/orders/score', { json: honest })).json() as Risk;
    const unknown = (
      await gateway.ask('/orders/score', { json: { ...honest, customer: 'new' } })
    ).json() as Risk;
    expect(regular.score).toBeCloseTo(1 / (1 + Math.exp(8)), 5);
    expect(unknown.score).toBeCloseTo(1 / (1 + Math.exp(4)), 5);
  });

  it('answers the same over HTTP', async () => {
    const inProcess = (await gateway.ask('/orders/score', { json: honest })).json();
    expect((await gateway.ask('/ml/predictions/fraud', { json: honest })).json()).toEqual(inProcess);
  });

  it('answers many at once', async () => {
    const amounts = Array.from({ length: 50 }, (_, n) => n * 20);
    const answers = await Promise.all(
      amounts.map((amount) => gateway.ask('/orders/score', { json: { customer: 'new', amount } })),
    );
    const scores = answers.map((answer) => (answer.json() as Risk).score);
    expect(scores).toEqual(scores.toSorted((a, b) => a - b));
    expect(new Set(scores).size).toBe(50);
  });

  it('tells the caller what is wrong with the input, in the format of the gateway', async () => {
    const answer = await gateway.ask('/orders/score', { json: { customer: 'new' } });
    expect(answer.status).toBe(400);
    expect(answer.json()).toMatchObject({ detail: 'An order needs an amount.' });
  });

  it('answers within the deadline when a hook of the gateway never does, and serves on', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => gateway.ask('/orders/score', { json: stuck })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([504]));
    expect((await gateway.ask('/orders/score', { json: honest })).status).toBe(200);
    expect((await gateway.ask('/ml/health/ready')).status).toBe(200);
  });
});

describe('@Infer on a route of the application', () => {
  it('gives the route the score', async () => {
    const answer = await gateway.ask('/orders', { json: { ...honest, customer: 'new' } });
    expect(answer.status).toBe(201);
    const { taken, score, unchecked } = answer.json() as { taken: number; score: number; unchecked?: string };
    expect({ taken, unchecked }).toEqual({ taken: 100, unchecked: undefined });
    expect(score).toBeCloseTo(1 / (1 + Math.exp(4)), 5);
  });

  it.each(['/orders', '/orders/refund'])('refuses what the predicate refuses: %s', async (path) => {
    const answer = await gateway.ask(path, { json: fraud });
    expect(answer.status).toBe(403);
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect(answer.json()).toMatchObject({ detail: 'The request was refused.' });
  });

  it('lets the request through when the budget is spent and the route is open', async () => {
    const answer = await gateway.ask('/orders', { json: stuck });
    expect(answer.status).toBe(201);
    expect(answer.json()).toEqual({ taken: 100, unchecked: 'DEADLINE_EXCEEDED' });
  });

  it('answers 503 when the budget is spent and the route is closed', async () => {
    const answer = await gateway.ask('/orders/refund', { json: stuck });
    expect(answer.status).toBe(503);
    expect(answer.json()).toMatchObject({ detail: 'The request could not be checked; try again later.' });
  });

  it('lets the request through when there is no such model and the route is open', async () => {
    expect((await gateway.ask('/orders/draft', { json: honest })).json()).toEqual({
      unchecked: 'MODEL_NOT_FOUND',
    });
  });

  it('still asks the guard of the application first', async () => {
    expect((await gateway.ask('/orders', { json: honest, key: null })).status).toBe(401);
  });

  it('does not call the route when the client leaves, and serves on', async () => {
    const client = new AbortController();
    const asked = gateway.ask('/orders', { json: { ...stuck, amount: 1 }, signal: client.signal });
    await setTimeout(50);
    client.abort();
    await expect(asked).rejects.toThrow('aborted');
    // Its budget, which starts later, is spent when the first one's would be.
    expect((await gateway.ask('/orders', { json: { ...stuck, amount: 2 } })).status).toBe(201);
    const amounts = ((await gateway.ask('/orders')).json() as Order[]).map(({ amount }) => amount);
    expect(amounts).toContain(2);
    expect(amounts).not.toContain(1);
  });
});

describe('two versions of one model', () => {
  it('answer side by side, and the first is the default until another is chosen', async () => {
    const version = async (query = '') =>
      ((await gateway.ask(`/orders/score${query}`, { json: honest })).json() as Risk).version;
    expect(await version()).toBe('1.0');
    expect(await version('?version=2.0')).toBe('2.0');
    expect((await gateway.ask('/ml/predictions/fraud/2.0', { json: honest })).json()).toMatchObject({
      version: '2.0',
    });

    expect((await gateway.ask('/ml/models/fraud/2.0/set-default', { method: 'PUT' })).status).toBe(200);
    expect(await version()).toBe('2.0');
    expect(await version('?version=1.0')).toBe('1.0');

    expect((await gateway.ask('/ml/models/fraud/1.0', { method: 'DELETE' })).status).toBe(200);
    expect((await gateway.ask('/orders/score?version=1.0', { json: honest })).status).toBe(404);
    expect(await version()).toBe('2.0');
  });
});
