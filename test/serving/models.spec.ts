import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture } from '../support/open-registry.js';
import { serveApp, type ServedApp } from '../support/serve-app.js';

let served: ServedApp;
beforeAll(async () => {
  served = await serveApp({ models: ['mnist', 'efficientnet', 'mlp'], mount: 'ml' });
});
afterAll(() => served.close());

const post = (path: string, body: Uint8Array<ArrayBuffer> | string, type?: string) =>
  fetch(`${served.url}${path}`, {
    method: 'POST',
    body,
    headers: type === undefined ? {} : { 'content-type': type },
  });
const image = (name: string) => new Uint8Array(readFileSync(fixture(`images/${name}`)));
const labelsOf = async (photo: string) => {
  const answer = await post('/ml/predictions/efficientnet', image(photo), 'image/jpeg');
  return Object.entries((await answer.json()) as Record<string, number>);
};

describe('served models', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])(
    'reads the digit %i with a handler that travels in its archive',
    async (digit) => {
      const answer = await post('/ml/predictions/mnist', image(`digit_${digit}.png`));
      expect(await answer.json()).toMatchObject({ digit });
    },
  );

  it('names what is in a photo with a built-in handler', async () => {
    const [label, probability] = (await labelsOf('coffee.jpg'))[0] ?? [];
    expect(label).toBe('espresso');
    expect(Math.abs(Number(probability) - 0.95)).toBeLessThan(0.03);
    const cat = (await labelsOf('chelsea.jpg'))[0]?.[0];
    expect(cat).toMatch(/cat|tabby/);
  });

  it('takes and gives named tensors as JSON', async () => {
    const request = {
      inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: Array(128).fill(0.5) }],
    };
    const answer = await post('/ml/predictions/mlp', JSON.stringify(request), 'application/json');
    const { outputs } = (await answer.json()) as {
      outputs: { name: string; shape: number[]; data: number[] }[];
    };
    expect(outputs).toMatchObject([{ name: 'logits', shape: [1, 10], datatype: 'FP32' }]);
    expect(outputs[0]?.data).toHaveLength(10);
  });
});
