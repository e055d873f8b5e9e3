import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { tensor, type TensorMetadata, type Tensors } from '#libs/common';
import {
  HandlerRunner,
  createBuiltinHandler,
  type HandlerItem,
  type ModelBinding,
} from '#libs/handler/worker';
import { RecordingSink, answerOf, bodyItem, demoSetup, jsonItem } from './fakes.js';

const floats = (shape: number[], values: number[]) => tensor('float32', Float32Array.from(values), shape);
const integers = (shape: number[], values: number[]) =>
  tensor('int64', BigInt64Array.from(values, BigInt), shape);
const input = (...shape: (string | number)[]): TensorMetadata => ({ name: 'image', dtype: 'float32', shape });
const output = (name: string, dtype: TensorMetadata['dtype'], ...shape: (string | number)[]) => ({
  name,
  dtype,
  shape,
});

const FOUND = [
  output('boxes', 'float32', 'found', 4),
  output('labels', 'int64', 'found'),
  output('scores', 'float32', 'found'),
];
const STACKED = FOUND.map(({ name, dtype, shape }) => ({ name, dtype, shape: ['batch', ...shape] }));

async function run(
  handler: string,
  items: readonly HandlerItem[],
  model: ModelBinding,
): Promise<RecordingSink> {
  const runner = new HandlerRunner(createBuiltinHandler(handler), {
    setup: demoSetup({ maxPixels: 100_000 }),
    binding: model,
    output: 'bytes',
  });
  await runner.initialize();
  const sink = new RecordingSink();
  await runner.run(items, sink);
  return sink;
}

/** A picture of one colour. */
const picture = (width: number, height: number, background = '#ff8000') =>
  sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer();

function detector(outputs: Tensors, seen: Tensors[] = []): ModelBinding {
  return {
    inputs: [input(3, 'height', 'width')],
    outputs: FOUND,
    run(inputs) {
      seen.push(inputs);
      return outputs;
    },
  };
}

const TWO_OF_THREE: Tensors = {
  scores: floats([3], [0.9, 0.5, 0.49]),
  boxes: floats([3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]),
  labels: integers([3], [7, 1, 1]),
};

describe('object_detector', () => {
  it('gives the model the picture in its own size, from 0 to 1, and answers what is sure enough', async () => {
    const seen: Tensors[] = [];
    const sink = await run(
      'object_detector',
      [bodyItem('a', 'image/png', await picture(3, 2))],
      detector(TWO_OF_THREE, seen),
    );
    expect(answerOf(sink.results.get('a'))).toEqual([
      { '7': [1, 2, 3, 4], score: Math.fround(0.9) },
      { '1': [5, 6, 7, 8], score: 0.5 },
    ]);
    expect(seen[0]?.['image']).toEqual(
      floats(
        [3, 2, 3],
        [...Array<number>(6).fill(1), ...Array<number>(6).fill(128 / 255), ...Array<number>(6).fill(0)],
      ),
    );
  });

  it('answers an empty list when nothing is found', async () => {
    const nothing = { scores: floats([0], []), boxes: floats([0, 4], []), labels: integers([0], []) };
    const sink = await run('object_detector', [bodyItem('a', '', await picture(3, 2))], detector(nothing));
    expect(answerOf(sink.results.get('a'))).toEqual([]);
  });

  it('runs pictures of one size together where the model takes several', async () => {
    const batches: (readonly number[])[] = [];
    const model: ModelBinding = {
      inputs: [input('batch', 3, 'height', 'width')],
      outputs: STACKED,
      run({ image }) {
        batches.push(image?.shape ?? []);
        const count = image?.shape[0] ?? 0;
        const numbers = Array.from({ length: count }, (_, index) => index);
        return {
          scores: floats(
            [count, 1],
            numbers.map(() => 0.75),
          ),
          boxes: floats(
            [count, 1, 4],
            numbers.flatMap((index) => [index, index, 9, 9]),
          ),
          labels: integers([count, 1], numbers),
        };
      },
    };
    const [small, large] = [await picture(3, 2), await picture(4, 4)];
    const items = [small, large, small].map((bytes, index) => bodyItem(`${index}`, '', bytes));
    const sink = await run('object_detector', items, model);
    // Which picture is decoded first is open.
    expect(new Set(batches.map(String))).toEqual(new Set(['2,3,2,3', '1,3,4,4']));
    const labels = ['0', '2'].map(
      (id) => Object.keys((answerOf(sink.results.get(id)) as object[])[0] ?? {})[0],
    );
    expect(new Set(labels)).toEqual(new Set(['0', '1']));
  });

  it('takes a nested list for a finished tensor', async () => {
    const seen: Tensors[] = [];
    const list = [[[0.5]], [[0.25]], [[0]]];
    await run('object_detector', [jsonItem('a', list)], detector(TWO_OF_THREE, seen));
    expect(seen[0]?.['image']).toEqual(floats([3, 1, 1], [0.5, 0.25, 0]));
  });

  it.each([
    ['no picture', () => Promise.resolve(Buffer.from('hello')), 'The data is no JPEG, PNG'],
    ['an empty body', () => Promise.resolve(Buffer.alloc(0)), 'The data is no JPEG, PNG'],
    ['a huge picture', () => picture(401, 300), 'The image has 401 × 300 pixels; at most 100000'],
    ['half a picture', async () => (await picture(50, 50)).subarray(0, 60), 'The image is damaged'],
  ])('refuses %s', async (_what, make, reason) => {
    const sink = await run('object_detector', [bodyItem('a', '', await make())], detector(TWO_OF_THREE));
    expect(sink.errors.get('a')).toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringContaining(reason) as string,
    });
  });

  it.each<[string, Tensors]>([
    ['boxes of five numbers', { ...TWO_OF_THREE, boxes: floats([3, 5], Array<number>(15).fill(0)) }],
    ['fewer labels than scores', { ...TWO_OF_THREE, labels: integers([2], [1, 2]) }],
    ['no scores', { boxes: floats([0, 4], []), labels: integers([0], []) }],
  ])('tells the caller that the model answers %s', async (_what, outputs) => {
    const sink = await run('object_detector', [bodyItem('a', '', await picture(3, 2))], detector(outputs));
    expect(sink.errors.get('a')).toMatchObject({
      code: 'PREDICTION_EXCEPTION',
      message: expect.stringContaining(
        'object_detector cannot read the answer of the model: "boxes"',
      ) as string,
    });
  });

  it.each<[string, Partial<ModelBinding>, string]>([
    [
      'a batch of four',
      { inputs: [input(4, 3, 'h', 'w')] },
      'float32 [3,height,width] or [batch,3,height,width]',
    ],
    ['one channel', { inputs: [input(1, 'h', 'w')] }, 'the inputs are: "image" float32 [1,h,w]'],
    ['no input', { inputs: [] }, 'the inputs are: none'],
    [
      'other names',
      { outputs: [output('dets', 'float32', 'n', 5)] },
      'the outputs are: "dets" float32 [n,5]',
    ],
    [
      'labels as floats',
      { outputs: FOUND.map((each) => ({ ...each, dtype: 'float32' })) },
      '"labels" int64 [found]',
    ],
    [
      'an open batch and outputs without it',
      { inputs: [input('batch', 3, 'h', 'w')] },
      'since its input has an open batch axis',
    ],
  ])('does not start for a model with %s', async (_what, change, reason) => {
    await expect(run('object_detector', [], { ...detector(TWO_OF_THREE), ...change })).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining(reason) as string,
    });
  });
});

describe('image_segmenter', () => {
  const model = (
    outputs: Tensors,
    out = output('out', 'float32', 'batch', 'classes', 'h', 'w'),
  ): ModelBinding => ({
    inputs: [input('batch', 3, 224, 224)],
    outputs: [out, output('aux', 'float32', 'batch', 'classes', 'h', 'w')],
    run: () => outputs,
  });
  const SCORES = floats([1, 3, 1, 2], [0, 1000, 1, 1001, 0, 999]);

  it('answers class and probability of each pixel, row by row', async () => {
    const sink = await run(
      'image_segmenter',
      [bodyItem('a', 'image/png', await picture(30, 20))],
      model({ aux: floats([1, 1, 1, 1], [1]), out: SCORES }),
    );
    const [row] = answerOf(sink.results.get('a')) as [number, number][][];
    const [first, second] = row ?? [];
    expect([first?.[0], second?.[0]]).toEqual([1, 1]);
    // e / (1 + e + 1), and 1 / (1 + 1/e + 1/e²): of a thousand only the differences count.
    expect(first?.[1]).toBeCloseTo(0.57612, 5);
    expect(second?.[1]).toBeCloseTo(0.66524, 5);
  });

  it('tells the caller that the model answers another shape', async () => {
    const sink = await run(
      'image_segmenter',
      [bodyItem('a', '', await picture(30, 20))],
      model({ out: floats([1, 3], [1, 2, 3]) }),
    );
    expect(sink.errors.get('a')).toMatchObject({
      code: 'PREDICTION_EXCEPTION',
      message:
        'image_segmenter cannot read the answer of the model: its output has the shape [1,3], not [1,classes,height,width].',
    });
  });

  it.each<[string, Partial<ModelBinding>]>([
    ['another input', { inputs: [input('batch', 3, 512, 512)] }],
    [
      'two outputs of other names',
      { outputs: [output('a', 'float32', 1, 2, 3, 4), output('b', 'float32', 1)] },
    ],
    ['classes instead of scores', { outputs: [output('out', 'int64', 'batch', 'h', 'w')] }],
  ])('does not start for a model with %s', async (_what, change) => {
    await expect(run('image_segmenter', [], { ...model({ out: SCORES }), ...change })).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('image_segmenter needs a model') as string,
    });
  });
});
