import { describe, expect, it } from 'vitest';
import type { Header, Tensors } from '#libs/common';
import {
  BaseHandler,
  HandlerRunner,
  type HandlerItem,
  type HandlerSetup,
  type RequestsContext,
} from '#libs/handler/worker';
import {
  DoublingModel,
  Pair,
  answerOf,
  bodyItem,
  demoSetup,
  jsonItem,
  row,
  runBatch,
  tensorItem,
} from './fakes.js';

const within = (envelope: string): HandlerSetup => demoSetup({ envelope });
const EXPLAIN: readonly Header[] = [['explain', 'True']];

/** Answers what it got. */
class Mirror extends BaseHandler<unknown> {
  override preprocess(input: unknown): Tensors {
    return input as Tensors;
  }
  override inference(inputs: Tensors): Tensors {
    return inputs;
  }
  override postprocess(outputs: Tensors): unknown {
    return outputs;
  }
  override explain(input: unknown): unknown {
    return { because: input };
  }
}

/** Answers what it got, all at once. */
class Batch extends BaseHandler {
  answers = (requests: readonly unknown[]): readonly unknown[] => requests.map((request) => ({ request }));
  override handle(requests: readonly unknown[]): readonly unknown[] {
    return this.answers(requests);
  }
}

async function ask(envelope: string, handler: BaseHandler<never>, ...items: readonly HandlerItem[]) {
  const sink = await runBatch(handler, items, { setup: within(envelope) });
  return items.map(({ id }) => sink.errors.get(id)?.message ?? answerOf(sink.results.get(id)));
}

const bytes = (text: string) => bodyItem('a', 'application/octet-stream', Buffer.from(text));

describe('the envelope body', () => {
  it('gives bare values', async () => {
    expect(await ask('body', new Batch(), jsonItem('a', { x: 1 }))).toEqual([{ request: { x: 1 } }]);
    expect(await ask('body', new Pair(), jsonItem('a', [1, 2]))).toEqual([[2, 4]]);
  });
});

describe('the envelope kserve', () => {
  it('runs all instances of all requests together, and answers each request', async () => {
    const model = new DoublingModel();
    const items = [
      jsonItem('a', {
        instances: [
          [1, 2],
          [3, 4],
        ],
      }),
      jsonItem('b', { instances: [{ data: [5, 6] }] }),
    ];
    const sink = await runBatch(new Pair(), items, { setup: within('kserve'), model });
    expect(model.runs).toEqual([[3, 2]]);
    expect(answerOf(sink.results.get('a'))).toEqual({
      predictions: [
        [2, 4],
        [6, 8],
      ],
    });
    expect(answerOf(sink.results.get('b'))).toEqual({ predictions: [[10, 12]] });
  });

  it('gives explanations where they are asked for', async () => {
    const item = jsonItem('a', { instances: [7] }, EXPLAIN);
    expect(await ask('kserve', new Mirror(), item)).toEqual([{ explanations: [{ because: 7 }] }]);
  });

  it('reads JSON that came as bytes', async () => {
    expect(await ask('kserve', new Mirror(), bytes('{"instances":[7]}'))).toEqual([{ predictions: [7] }]);
  });

  it.each([
    ['no instances', jsonItem('a', { foo: 1 }), 'INVALID_OUTPUT'],
    ['no list', jsonItem('a', { instances: 'abc' }), 'INVALID_OUTPUT'],
    ['an empty list', jsonItem('a', { instances: [] }), 'BATCH_LENGTH_MISMATCH'],
    ['a list in its place', jsonItem('a', [1, 2]), 'PREDICTION_FAILED'],
    ['null', jsonItem('a', null), 'PREDICTION_FAILED'],
    ['text', bodyItem('a', 'text/plain', Buffer.from('hello')), 'PREDICTION_FAILED'],
    ['broken JSON', bodyItem('a', 'application/json', Buffer.from('{bad')), 'PREDICTION_FAILED'],
    ['nothing', bytes(''), 'PREDICTION_FAILED'],
    ['bytes that are no text', bodyItem('a', '', Uint8Array.of(0xff)), 'PREDICTION_FAILED'],
  ])('refuses %s, and serves the rest of the batch', async (_what, bad, code) => {
    const good = jsonItem('good', { instances: [[1, 2]] });
    for (const handler of [new Pair(), new Batch()]) {
      const sink = await runBatch(handler, [bad, good], { setup: within('kserve') });
      expect(sink.errors.get('a')).toMatchObject({
        code,
        details: {
          cause:
            'The service envelope kserve takes { "instances": [ … ] } with one instance at least, as JSON.',
        },
      });
      expect(sink.results.has('good')).toBe(true);
    }
  });

  it('fails the request of an instance that fails, and no other', async () => {
    const bad = jsonItem('a', { instances: [[1, 2], 'x'] });
    const good = jsonItem('b', { instances: [[1, 2]] });
    expect(await ask('kserve', new Pair(), bad, good)).toEqual([
      'Send a pair of numbers.',
      { predictions: [[2, 4]] },
    ]);
  });

  it('gives each instance a context of its own, and the headers of the first to the answer', async () => {
    class Tagging extends Pair {
      readonly #sums = new WeakMap<object, number>();
      override preprocess(values: number[], context?: RequestsContext): Tensors {
        if (context !== undefined) {
          this.#sums.set(context, values[0] ?? 0);
          context.setResponseHeader(0, 'x-first', String(values[0]));
        }
        return row(values);
      }
      override postprocess(_outputs: Tensors, context?: RequestsContext): number[] {
        return [context === undefined ? NaN : (this.#sums.get(context) ?? NaN)];
      }
    }
    const item = jsonItem('a', {
      instances: [
        [1, 2],
        [3, 4],
      ],
    });
    const sink = await runBatch(new Tagging(), [item], { setup: within('kserve') });
    expect(answerOf(sink.results.get('a'))).toEqual({ predictions: [[1], [3]] });
    expect(sink.results.get('a')?.headers).toEqual([['x-first', '1']]);
  });

  it('gives a batch handler the instances of all requests, and takes as many answers', async () => {
    const items = [jsonItem('a', { instances: [1, 2] }), jsonItem('b', { instances: [3] })];
    expect(await ask('kserve', new Batch(), ...items)).toEqual([
      { predictions: [{ request: 1 }, { request: 2 }] },
      { predictions: [{ request: 3 }] },
    ]);
    const short = new Batch();
    short.answers = () => [1];
    const sink = await runBatch(short, items, { setup: within('kserve') });
    expect(sink.codes).toEqual({ a: 'BATCH_LENGTH_MISMATCH', b: 'BATCH_LENGTH_MISMATCH' });
  });

  it('leaves tensors, descriptions and values of the application alone', async () => {
    const sink = await runBatch(new Pair(), [tensorItem('a', row([1, 2]))], { setup: within('kserve') });
    expect(sink.results.get('a')?.output).toMatchObject({ kind: 'tensors' });
    const described = bodyItem('a', '', Buffer.alloc(0), [['describe', 'True']]);
    expect(await ask('kserve', new Batch(), described)).toMatchObject([{ request: { body: {} } }]);
    const value: HandlerItem = { id: 'a', input: { kind: 'value', value: [1, 2] } };
    expect(await ask('kserve', new Pair(), value)).toEqual([[2, 4]]);
  });

  it('lets no parts of an answer out', async () => {
    class Parts extends BaseHandler {
      override async preprocess(_input: unknown, context?: RequestsContext): Promise<Tensors> {
        await context?.sendIntermediateResponse(0, 'part');
        return {};
      }
    }
    const sink = await runBatch(new Parts(), [jsonItem('a', { instances: [1] })], {
      setup: within('kserve'),
    });
    expect(sink.chunks).toEqual([]);
    expect(sink.codes).toEqual({ a: 'PREDICTION_FAILED' });
  });
});

describe('the envelope json', () => {
  it('decodes base64, and answers on one line', async () => {
    const instances = [{ b64: 'aGVsbG8=' }, { a: { b64: 'aGk=' }, b: 1 }];
    const seen: unknown[] = [];
    const handler = new Batch();
    handler.answers = (requests) => {
      seen.push(...requests);
      return [{ 'ü,\n': [1, { x: 2 }] }, []];
    };
    const sink = await runBatch(handler, [jsonItem('a', { instances })], { setup: within('json') });
    expect(seen).toEqual([Buffer.from('hello'), { a: Buffer.from('hi'), b: 1 }]);
    expect(sink.results.get('a')?.output).toEqual({
      kind: 'text',
      encoding: 'text',
      text: '{"predictions": [{"\\u00fc,\\n": [1, {"x": 2}]}, []]}',
    });
  });

  it('says so when an answer is no JSON', async () => {
    const handler = new Batch();
    handler.answers = () => [() => 1];
    const sink = await runBatch(handler, [jsonItem('a', { instances: [1] })], { setup: within('json') });
    expect(sink.codes).toEqual({ a: 'OUTPUT_NOT_SERIALIZABLE' });
  });

  it('refuses what is no JSON by its content type', async () => {
    expect(await ask('json', new Mirror(), bytes('{"instances":[1]}'))).toEqual([
      'Prediction failed: The service envelope json takes { "instances": [ … ] } with one instance at least, as JSON.',
    ]);
  });
});

describe('the envelope kservev2', () => {
  const input = (over: object) => ({
    name: 'in',
    shape: [2, 2],
    datatype: 'FP32',
    data: [1, 2, 3, 4],
    ...over,
  });
  const infer = (...inputs: object[]) => jsonItem('a', { id: 'mine', inputs });

  it('gives the inputs in their shape, and answers with outputs of their names', async () => {
    const item = infer(input({}), input({ name: 'text', datatype: 'BYTES', shape: [1], data: ['abc'] }));
    expect(await ask('kservev2', new Mirror(), item)).toEqual([
      {
        id: 'mine',
        model_name: 'demo',
        model_version: '1.0',
        outputs: [
          { name: 'in', datatype: 'INT64', data: [1, 2, 3, 4], shape: [4] },
          { name: 'text', datatype: 'BYTES', data: ['abc'], shape: [1] },
        ],
      },
    ]);
    const [seen] = await ask('kservev2', new Batch(), infer(input({ data: [[1, 2, 3, 4]] })));
    expect(seen).toMatchObject({
      outputs: [
        {
          datatype: 'BYTES',
          data: [
            {
              request: {
                name: 'in',
                shape: [2, 2],
                datatype: 'FP32',
                data: [
                  [1, 2],
                  [3, 4],
                ],
              },
            },
          ],
          shape: [1],
        },
      ],
    });
  });

  it.each<[string, unknown, string, unknown[]]>([
    ['numbers', [1, 2.5], 'FP64', [1, 2.5]],
    ['nested whole numbers', [[1], [2]], 'INT64', [1, 2]],
    ['truths', [true, false], 'BOOL', [true, false]],
    ['floats', Float32Array.of(1, 2), 'FP32', [1, 2]],
    ['64-bit integers', BigInt64Array.of(1n, 2n ** 60n), 'INT64', [1, '1152921504606846976']],
    ['a text', 'text', 'BYTES', ['text']],
    ['nothing', [], 'FP64', []],
    ['null', null, 'BYTES', [null]],
  ])('calls %s by its type', async (_what, answer, datatype, data) => {
    const handler = new Batch();
    handler.answers = () => [answer];
    expect(await ask('kservev2', handler, infer(input({})))).toMatchObject([
      { outputs: [{ name: 'in', datatype, data, shape: [data.length] }] },
    ]);
  });

  it('makes an id when the request has none', async () => {
    const item = jsonItem('a', { id: ' ', inputs: [input({})] });
    expect(await ask('kservev2', new Mirror(), item)).toMatchObject([{ id: 'a' }]);
  });

  it.each<[string, object[], string]>([
    ['no inputs', [], 'takes { "inputs": [{ "name", "shape", "datatype", "data" }, …] } with one input'],
    ['an input without a name', [input({ name: 1 })], 'inputs[0] has no "name"'],
    ['no data', [input({}), input({ data: 7 })], 'inputs[1]: "datatype" is a text and "data" an array'],
    ['a shape of texts', [input({ shape: ['2'] })], '"shape" is an array of whole numbers'],
    ['a shape below nothing', [input({ shape: [-1] })], '"shape" is an array of whole numbers'],
    ['too few elements', [input({ data: [1] })], 'inputs[0]: the data has 1 elements'],
    ['a huge shape', [input({ shape: [1e9, 1e9] })], 'inputs[0]: the data has 4 elements'],
  ])('refuses %s', async (_what, inputs, reason) => {
    const [message] = await ask('kservev2', new Mirror(), infer(...inputs));
    expect(message).toContain(reason);
  });
});

describe('an unknown envelope', () => {
  it('stops the worker before its first request', async () => {
    const runner = new HandlerRunner(new Pair(), {
      setup: within('seldon'),
      binding: new DoublingModel(),
      output: 'bytes',
    });
    await expect(runner.initialize()).rejects.toMatchObject({
      code: 'HANDLER_INVALID',
      message: expect.stringContaining(
        'The service envelope "seldon" is unknown; there are body, json, kserve, kservev2.',
      ) as string,
    });
  });
});
