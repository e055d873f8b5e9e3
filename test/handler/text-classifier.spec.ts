import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { tensor, type TensorMetadata, type Tensors } from '#libs/common';
import {
  HandlerRunner,
  createBuiltinHandler,
  type HandlerItem,
  type ModelBinding,
} from '#libs/handler/worker';
import { RecordingSink, answerOf, bodyItem, demoSetup, jsonItem, tensorItem } from './fakes.js';

interface RecordedText {
  readonly lowerCase: boolean;
  readonly text: string;
  readonly ids: readonly number[];
  /** By Python's ONNX Runtime. */
  readonly probabilities?: readonly number[];
}

const folder = fileURLToPath(new URL('../fixtures/text/', import.meta.url));
const file = (name: string) => readFileSync(join(folder, name), 'utf8');
const recorded = JSON.parse(file('recorded.json')) as readonly RecordedText[];
const sequence = (name: string, ...shape: (number | string)[]): TensorMetadata => ({
  name,
  dtype: 'int64',
  shape,
});

let session: InferenceSession;
let seen: Tensors[];
let dir: string;

const binding: ModelBinding = {
  inputs: [sequence('input_ids', 'batch', 'sequence'), sequence('attention_mask', 'batch', 'sequence')],
  outputs: [{ name: 'logits', dtype: 'float32', shape: ['batch', 2] }],
  async run(inputs: Tensors) {
    seen.push(inputs);
    const feeds = Object.entries(inputs).map(([name, { data, shape }]) => [
      name,
      new OrtTensor('int64', data as BigInt64Array, shape),
    ]);
    const { logits } = await session.run(Object.fromEntries(feeds) as Record<string, OrtTensor>);
    return { logits: tensor('float32', logits?.data as Float32Array, logits?.dims ?? []) };
  },
};

beforeAll(async () => {
  session = await InferenceSession.create(join(folder, 'sentiment.onnx'), { intraOpNumThreads: 1 });
  dir = mkdtempSync(join(tmpdir(), 'marline-test-'));
});
afterAll(async () => {
  await session.release();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  seen = [];
});

async function classify(
  items: readonly HandlerItem[],
  model: ModelBinding = binding,
  modelDir = folder,
): Promise<RecordingSink> {
  const setup = demoSetup();
  const runner = new HandlerRunner(createBuiltinHandler('text_classifier'), {
    setup: { ...setup, systemProperties: { ...setup.systemProperties, batchSize: 8, modelDir } },
    binding: model,
    output: 'bytes',
  });
  await runner.initialize();
  const sink = new RecordingSink();
  await runner.run(items, sink);
  return sink;
}

/** A folder with these files. */
function archive(files: Readonly<Record<string, string>>): string {
  const made = mkdtempSync(join(dir, 'archive-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(made, name), text);
  return made;
}

const text = (id: string, value: string) => bodyItem(id, 'text/plain', Buffer.from(value));
const idsOf = (tensors: Tensors | undefined) => Array.from(tensors?.['input_ids']?.data ?? [], Number);

describe('text_classifier', () => {
  it('answers all labels with their probabilities, in the order of the classes', async () => {
    const sink = await classify([
      text('good', 'A wonderful, moving film with a brilliant cast.'),
      jsonItem('bad', 'Dull, lifeless and far too long: the worst movie of the year.'),
      bodyItem('bytes', 'application/octet-stream', Buffer.from('wonderful')),
    ]);
    const [good, bad] = ['good', 'bad'].map((id) => answerOf(sink.results.get(id)) as Record<string, number>);
    expect(Object.keys(good ?? {})).toEqual(['negative', 'positive']);
    expect(good?.['positive']).toBeGreaterThan(0.9);
    expect(bad?.['negative']).toBeGreaterThan(0.9);
    expect(sink.results.has('bytes')).toBe(true);
  });

  it('runs texts of any length together, and answers as if each were alone', async () => {
    const texts = ['good', 'a very long and quite boring film, I am afraid', 'bad bad bad'];
    const together = await classify(texts.map((value, index) => text(`${index}`, value)));
    expect(seen).toHaveLength(1);
    expect(seen[0]?.['input_ids']?.shape[0]).toBe(3);
    for (const [index, value] of texts.entries()) {
      const alone = answerOf((await classify([text('a', value)])).results.get('a')) as object;
      const answer = answerOf(together.results.get(`${index}`)) as object;
      for (const [label, probability] of Object.entries(alone))
        expect((answer as Record<string, number>)[label]).toBeCloseTo(probability as number, 5);
    }
  });

  it('leaves the tokens of tensor requests as they are', async () => {
    const row = (...values: number[]) =>
      tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
    const tensors = { input_ids: row(2, 90, 3), attention_mask: row(1, 1, 1) };
    const sink = await classify([tensorItem('a', tensors), text('b', 'a longer text than three tokens')]);
    expect(sink.codes).toEqual({});
    expect(sink.results.get('a')?.output).toMatchObject({ kind: 'tensors' });
    expect(idsOf(seen[0]).slice(0, 5)).toEqual([2, 90, 3, 0, 0]);
  });

  it.each([
    ['an empty body', bodyItem('a', 'text/plain', Buffer.alloc(0)), 'and is not empty'],
    ['blanks', text('a', ' \n '), 'and is not empty'],
    ['a number', jsonItem('a', 7), 'A text is sent as'],
    ['an object', jsonItem('a', { text: 'good' }), 'A text is sent as'],
    ['bytes that are no UTF-8', bodyItem('a', '', Uint8Array.of(0xff, 0xfe, 0x41)), 'not UTF-8'],
  ])('refuses %s and serves the rest of the batch', async (_what, bad, reason) => {
    const sink = await classify([bad, text('good', 'good')]);
    expect(sink.codes).toEqual({ a: 'INVALID_INPUT' });
    expect(sink.errors.get('a')?.message).toContain(reason);
    expect(sink.results.has('good')).toBe(true);
  });

  it('fills and cuts to the length of a model that has one', async () => {
    const inputs = [sequence('input_ids', 1, 6), sequence('token_type_ids', 1, 6)];
    const run = (given: Tensors) => {
      seen.push(given);
      return { logits: tensor('float32', new Float32Array(2), [1, 2]) };
    };
    await classify([text('a', 'good'), text('b', 'good '.repeat(50))], { ...binding, inputs, run });
    const [short = [], long = []] = seen.map(idsOf);
    expect([short.length, short.slice(3)]).toEqual([6, [0, 0, 0]]);
    expect([long.length, long.at(-1)]).toEqual([6, short[2]]);
    expect(seen[0]?.['token_type_ids']?.shape).toEqual([1, 6]);
  });

  it('tells the caller that the model answers another shape', async () => {
    const run = () => ({ logits: tensor('float32', new Float32Array(4), [1, 2, 2]) });
    const sink = await classify([text('a', 'good')], { ...binding, run });
    expect(sink.errors.get('a')?.message).toBe(
      'text_classifier cannot read the answer of the model: its output has the shape [1,2,2], not [1,classes].',
    );
  });

  it.each<[string, Partial<ModelBinding>]>([
    ['bags of words', { inputs: [sequence('text', 'tokens'), sequence('offsets', 1)] }],
    ['ids of 32 bits', { inputs: [{ name: 'input_ids', dtype: 'int32', shape: ['batch', 'sequence'] }] }],
    ['lengths that differ', { inputs: [sequence('input_ids', 1, 8), sequence('attention_mask', 1, 9)] }],
    ['a batch of four', { inputs: [sequence('input_ids', 4, 's')] }],
    ['tokens for its output', { outputs: [{ name: 'logits', dtype: 'float32', shape: ['b', 's', 9] }] }],
  ])('does not start for a model with %s', async (_what, change) => {
    await expect(classify([], { ...binding, ...change })).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('text_classifier needs a model') as string,
    });
  });

  it.each<[string, Readonly<Record<string, string>>, string]>([
    ['no vocabulary', {}, 'in the file vocab.txt, a token per line: pack it with --extra-files'],
    ['a vocabulary of another kind', { 'vocab.txt': 'the\nof\nand' }, 'vocab.txt lacks the token [PAD]'],
    [
      'a broken configuration',
      { 'vocab.txt': file('vocab.txt'), 'tokenizer_config.json': '{' },
      'not valid JSON',
    ],
    [
      'a list for it',
      { 'vocab.txt': file('vocab.txt'), 'tokenizer_config.json': '[]' },
      'holds no JSON object',
    ],
    [
      'a text for a flag',
      { 'vocab.txt': file('vocab.txt'), 'tokenizer_config.json': '{"do_lower_case":"yes"}' },
      'do_lower_case is true, false or null',
    ],
    [
      'a length of one',
      { 'vocab.txt': file('vocab.txt'), 'tokenizer_config.json': '{"model_max_length":1}' },
      'model_max_length is a number of tokens, 3 at least',
    ],
    [
      'broken labels',
      { 'vocab.txt': file('vocab.txt'), 'index_to_name.json': '[' },
      'index_to_name.json is not',
    ],
  ])('does not start for an archive with %s', async (_what, files, reason) => {
    await expect(classify([], binding, archive(files))).rejects.toMatchObject({
      code: 'HANDLER_INVALID',
      message: expect.stringContaining(reason) as string,
    });
  });
});

describe('its tokens', () => {
  it.each(recorded)('are those of the tokenizers package: $text (lower case: $lowerCase)', async (record) => {
    const config = { do_lower_case: record.lowerCase, model_max_length: 64 };
    const modelDir = archive({
      'vocab.txt': file('vocab.txt'),
      'tokenizer_config.json': JSON.stringify(config),
    });
    const sink = await classify([text('a', record.text)], binding, modelDir);
    expect(idsOf(seen[0])).toEqual(record.ids);
    const probabilities = Object.values(answerOf(sink.results.get('a')) as object) as number[];
    for (const [index, probability] of (record.probabilities ?? []).entries())
      expect(Math.abs((probabilities[index] ?? NaN) - probability)).toBeLessThan(1e-4);
  });
});
