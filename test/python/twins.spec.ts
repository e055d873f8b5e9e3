import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pythonVenv } from '../support/python-venv.js';
import { serveApp, type ServedApp } from '../support/serve-app.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`Handlers in two languages are not compared: ${missing}.`);
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

let served: ServedApp;

/** The same handler twice: in Python, as TorchServe's archiver packed it, and in JavaScript. */
beforeAll(async () => {
  if (python === undefined) return;
  served = await serveApp({ management: true, options: { python } });
  cpSync(at('../fixtures/torchserve-store/misc.mar'), join(served.models.store, 'misc.mar'));
  await served.models.pack({ fixture: 'slow', name: 'twin', handler: at('twins/misc_handler.mjs') });
  const options = { initialWorkers: 1, synchronous: true, batchSize: 2, maxBatchDelay: 2000 };
  await served.registry.register({ url: 'misc.mar', ...options, batchSize: 1 });
  await served.registry.register({ url: 'misc.mar', modelName: 'misc2', ...options });
  await served.registry.register({ url: 'twin.mar', ...options, batchSize: 1 });
  await served.registry.register({ url: 'twin.mar', modelName: 'twin2', ...options });
});
afterAll(() => served?.close());

/** What a client sees but for ids, times and lengths; JSON parsed, because Python writes 1.0 where JavaScript writes 1. */
async function ask(model: string, body: object) {
  const response = await fetch(`${served.url}/predictions/${model}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const left = ['x-request-id', 'date', 'content-length'];
  return {
    status: response.status,
    reason: response.statusText,
    headers: [...response.headers].filter(([name]) => !left.includes(name)),
    body: parsed(Buffer.from(await response.arrayBuffer()).toString('latin1')),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

describe.skipIf(python === undefined)('a handler in JavaScript answers what its twin in Python does', () => {
  it.each<object>([
    {},
    { op: 'value', value: [1, 2.5, 1e-5, 'ü', null, { a: true }] },
    { op: 'bytes' },
    { op: 'str' },
    { status: 201 },
    { status: 418, phrase: 'short and stout' },
    { headers: { 'X-Own': 'yes', 'x-lower': '1' }, contentType: 'text/csv', op: 'str', value: 'a,b' },
    { op: 'stream' },
    { op: 'stream', n: 1, headers: { 'X-Own': 'yes' } },
    { op: 'raise' },
    { op: 'memory' },
    { op: 'pexc' },
    { op: 'pexc', code: 422, message: 'no face' },
    { op: 'pexc', code: 413 },
    { op: 'pexc', code: 599 },
    { op: 'short' },
    { op: 'long' },
    { op: 'notalist' },
  ])('to %j', async (body) => {
    expect(await ask('twin', body)).toEqual(await ask('misc', body));
  });

  it.each<[object, object]>([
    [
      { op: 'value', value: 1 },
      { status: 404, op: 'str', value: 'not here' },
    ],
    [{ op: 'pexc', code: 418 }, {}],
    [{ op: 'raise' }, {}],
    [{ op: 'short' }, {}],
  ])('to a batch of %j and %j', async (first, second) => {
    const both = (model: string) => Promise.all([ask(model, first), ask(model, second)]);
    expect(await both('twin2')).toEqual(await both('misc2'));
  });

  it('when it is asked to describe its model', async () => {
    const described = async (model: string) => {
      const [description] = (await (await fetch(`${served.url}/models/${model}?customized=true`)).json()) as {
        customizedMetadata: unknown;
      }[];
      return description?.customizedMetadata;
    };
    expect(await described('twin')).toEqual({ described: 'twin' });
    expect(await described('misc')).toEqual({ op: 'dict', batch: 1, index: 0 });
  });
});
