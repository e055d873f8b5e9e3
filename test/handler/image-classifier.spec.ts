import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tensor, type Tensors } from '#libs/common';
import {
  HandlerRunner,
  createBuiltinHandler,
  type HandlerItem,
  type ModelBinding,
} from '#libs/handler/worker';
import { sessionOptions } from '../../libs/inference/src/session-options.js';
import { RecordingSink, answerOf, bodyItem, demoSetup, jsonItem } from './fakes.js';

const fixtures = new URL('../fixtures/', import.meta.url);
const photo = (name: string) => readFileSync(new URL(`images/${name}`, fixtures));
const setup = demoSetup({ maxPixels: 10_000_000 });
const withLabels = {
  ...setup,
  systemProperties: { ...setup.systemProperties, modelDir: fileURLToPath(new URL('models', fixtures)) },
};

let session: InferenceSession;
const batches: number[] = [];
const binding: ModelBinding = {
  inputs: [{ name: 'input', dtype: 'float32', shape: ['batch', 3, 224, 224] }],
  outputs: [{ name: 'logits', dtype: 'float32', shape: ['batch', 1000] }],
  async run({ input }: Tensors) {
    batches.push(input?.shape[0] ?? 0);
    const { logits } = await session.run({
      input: new OrtTensor('float32', input?.data as Float32Array, input?.shape ?? []),
    });
    return { logits: tensor('float32', logits?.data as Float32Array, logits?.dims ?? []) };
  },
};

beforeAll(async () => {
  session = await InferenceSession.create(
    fileURLToPath(new URL('models/efficientnet-lite0-int8.onnx', fixtures)),
    sessionOptions({ executionProvider: 'cpu', deviceId: null, shared: false, intraOpThreads: 1 }),
  );
});
afterAll(() => session.release());

async function classify(
  items: readonly HandlerItem[],
  useSetup = withLabels,
  model = binding,
): Promise<RecordingSink> {
  const runner = new HandlerRunner(createBuiltinHandler('image_classifier'), {
    setup: useSetup,
    binding: model,
    output: 'bytes',
  });
  await runner.initialize();
  const sink = new RecordingSink();
  await runner.run(items, sink);
  return sink;
}

const topOf = (sink: RecordingSink, id: string) =>
  Object.entries(answerOf(sink.results.get(id)) as Record<string, number>);

describe('image_classifier', () => {
  it('names what is on real photos, in one run', async () => {
    batches.length = 0;
    const sink = await classify([
      bodyItem('coffee', 'image/jpeg', photo('coffee.jpg')),
      bodyItem('cat', 'image/jpeg', photo('chelsea.jpg')),
    ]);
    const [[label, probability] = ['', 0], ...others] = topOf(sink, 'coffee');
    expect(label).toBe('espresso');
    expect(probability).toBeGreaterThan(0.92);
    expect(probability).toBeLessThan(0.98);
    expect(others).toHaveLength(4);
    expect(others.every(([, other]) => other < probability)).toBe(true);
    expect(topOf(sink, 'cat')[0]?.[0]).toMatch(/cat|tabby/i);
    expect(batches).toEqual([2]);
  });

  it('takes base64 text and turns a rotated photo upright', async () => {
    const turned = await sharp(photo('coffee.jpg'))
      .rotate(-90)
      .jpeg({ quality: 95 })
      .withMetadata({ orientation: 6 })
      .toBuffer();
    const sink = await classify([
      bodyItem('text', 'text/plain', Buffer.from(photo('coffee.jpg').toString('base64'))),
      bodyItem('turned', 'image/jpeg', turned),
    ]);
    expect(topOf(sink, 'text')[0]?.[0]).toBe('espresso');
    expect(topOf(sink, 'turned')[0]?.[0]).toBe('espresso');
    expect(topOf(sink, 'turned')[0]?.[1]).toBeGreaterThan(0.9);
  });

  it('answers with class numbers in order of probability when there are no labels', async () => {
    const sink = await classify([bodyItem('a', 'image/jpeg', photo('coffee.jpg'))], setup);
    const result = sink.results.get('a');
    const text = result?.output.kind === 'text' ? result.output.text : '';
    const probabilities = [...text.matchAll(/"\d+": ([\d.e-]+)/g)].map((match) => Number(match[1]));
    expect(text).toMatch(/^{\n {2}"967": 0\.9/);
    expect(probabilities).toHaveLength(5);
    expect(probabilities).toEqual(probabilities.toSorted((a, b) => b - a));
  });

  it('takes a nested list for a finished tensor', async () => {
    const image = Array.from({ length: 3 }, () =>
      Array.from({ length: 224 }, () => Array<number>(224).fill(0)),
    );
    const sink = await classify([jsonItem('a', image), jsonItem('b', [[1, 2], [3]])]);
    expect(topOf(sink, 'a')).toHaveLength(5);
    expect(sink.errors.get('b')).toMatchObject({
      code: 'INVALID_INPUT',
      message: 'The image: data[1] has 1 elements, shape [2,2] needs 2.',
    });
  });

  it.each([
    ['text that is no base64', bodyItem('a', 'text/plain', Buffer.from('hello'))],
    ['JSON that is no image', jsonItem('a', { url: 'http://169.254.169.254/' })],
    ['a number', jsonItem('a', 7)],
  ])('refuses %s and serves the rest of the batch', async (_what, bad) => {
    const sink = await classify([bad, bodyItem('good', 'image/jpeg', photo('coffee.jpg'))]);
    expect(sink.codes).toEqual({ a: 'INVALID_INPUT' });
    expect(topOf(sink, 'good')[0]?.[0]).toBe('espresso');
  });

  it('gives as many labels as a model of few classes has', async () => {
    const run = () =>
      Promise.resolve({ scores: tensor('float32', new Float32Array([1000, 1001, -1000]), [1, 3]) });
    const sink = await classify([bodyItem('a', 'image/jpeg', photo('coffee.jpg'))], setup, {
      ...binding,
      run,
    });
    const answer = answerOf(sink.results.get('a')) as Record<string, number>;
    expect(answer['1']).toBeCloseTo(0.731, 3);
    expect(answer['0']).toBeCloseTo(0.269, 3);
    expect(answer['2']).toBe(0);
  });

  it.each([
    ['two inputs', [...binding.inputs, ...binding.inputs]],
    ['one channel', [{ name: 'input', dtype: 'float32' as const, shape: ['batch', 1, 28, 28] }]],
    ['another element type', [{ name: 'input', dtype: 'uint8' as const, shape: ['batch', 3, 224, 224] }]],
  ])('refuses to start for a model with %s', async (_what, inputs) => {
    await expect(classify([], setup, { ...binding, inputs })).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('image_classifier needs a model with one input') as string,
    });
  });
});
