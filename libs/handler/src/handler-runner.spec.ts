import { describe, expect, it } from 'vitest';
import { MarlineError, tensor, type Tensors } from '#libs/common';
import {
  DoublingModel,
  Pair,
  answerOf,
  demoSetup,
  jsonItem,
  row,
  runBatch,
  tensorItem,
} from '../../../test/handler/fakes.js';
import { BaseHandler, type HandlerRequest } from './base-handler.js';
import type { RequestsContext } from './context.js';
import { PredictionException } from './handler-errors.js';
import { HandlerRunner } from './handler-runner.js';

describe('one item at a time', () => {
  it('stacks the items of a batch into one run and gives each its own rows', async () => {
    const model = new DoublingModel();
    const sink = await runBatch(
      new Pair(),
      [jsonItem('a', [1, 2]), jsonItem('b', [3, 4]), jsonItem('c', [5, 6])],
      { model },
    );
    expect(model.runs).toEqual([[3, 2]]);
    expect(answerOf(sink.results.get('b'))).toEqual([6, 8]);
    expect(answerOf(sink.results.get('c'))).toEqual([10, 12]);
  });

  it('lets one bad item fail alone', async () => {
    const model = new DoublingModel();
    const sink = await runBatch(
      new Pair(),
      [jsonItem('good', [1, 2]), jsonItem('bad', 'text'), jsonItem('wide', [1, 2, 3])],
      { model },
    );
    expect(answerOf(sink.results.get('good'))).toEqual([2, 4]);
    expect(sink.codes).toEqual({ bad: 'INVALID_INPUT', wide: 'INVALID_INPUT' });
    expect(sink.errors.get('wide')?.message).toBe('Input "x" must be float32 [batch,2], got float32 [1,3].');
    expect(model.runs).toEqual([[1, 2]]);
  });

  it('runs the others alone when the model refuses one item of a stacked run', async () => {
    const model = new DoublingModel();
    model.check = (values) => {
      if (values.includes(13)) throw new Error('index out of range');
    };
    const sink = await runBatch(new Pair(), [jsonItem('a', [1, 2]), jsonItem('b', [13, 0])], { model });
    expect(answerOf(sink.results.get('a'))).toEqual([2, 4]);
    expect(sink.codes).toEqual({ b: 'PREDICTION_FAILED' });
    expect(model.runs).toEqual([
      [2, 2],
      [1, 2],
      [1, 2],
    ]);
  });

  it('makes one run for each shape', async () => {
    const model = new DoublingModel();
    model.inputs = [{ name: 'x', dtype: 'float32', shape: ['batch', 'length'] }];
    const sink = await runBatch(
      new Pair(),
      [jsonItem('a', [1, 2]), jsonItem('b', [3]), jsonItem('c', [4, 5])],
      { model },
    );
    expect(model.runs).toEqual([
      [2, 2],
      [1, 1],
    ]);
    expect(answerOf(sink.results.get('c'))).toEqual([8, 10]);
    expect(answerOf(sink.results.get('b'))).toEqual([6]);
  });

  it('lets a handler pad its items so that they share a run', async () => {
    class Padded extends Pair {
      override pad(items: readonly Tensors[]): readonly Tensors[] {
        const length = Math.max(...items.map(({ x }) => x?.shape[1] ?? 0));
        return items.map(({ x }) =>
          row([...Array.from(x?.data ?? [], Number), ...Array<number>(length - (x?.shape[1] ?? 0)).fill(0)]),
        );
      }
    }
    const model = new DoublingModel();
    model.inputs = [{ name: 'x', dtype: 'float32', shape: ['batch', 'length'] }];
    const sink = await runBatch(new Padded(), [jsonItem('a', [1, 2, 3]), jsonItem('b', [4])], { model });
    expect(model.runs).toEqual([[2, 3]]);
    expect(answerOf(sink.results.get('b'))).toEqual([8, 0, 0]);
  });

  it('does not stack for a model with a fixed batch axis', async () => {
    const model = new DoublingModel();
    model.inputs = [{ name: 'x', dtype: 'float32', shape: [1, 2] }];
    await runBatch(new Pair(), [jsonItem('a', [1, 2]), jsonItem('b', [3, 4])], { model });
    expect(model.runs).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });

  it('stacks again and again for hooks that run the model several times', async () => {
    class Twice extends Pair {
      override async inference(inputs: Tensors, context: RequestsContext): Promise<Tensors> {
        const first = await context.run(inputs);
        return first['y']?.data[0] === 2 ? context.run({ x: first['y'] }) : first;
      }
    }
    const model = new DoublingModel();
    const items = [jsonItem('a', [1, 2]), jsonItem('b', [1, 4]), jsonItem('c', [9, 9])];
    const sink = await runBatch(new Twice(), items, { model });
    expect(model.runs).toEqual([
      [3, 2],
      [2, 2],
    ]);
    expect(answerOf(sink.results.get('b'))).toEqual([4, 16]);
    expect(answerOf(sink.results.get('c'))).toEqual([18, 18]);
  });

  it('says how to serve a model whose outputs have no batch axis', async () => {
    const model = new DoublingModel();
    const binding = {
      outputs: model.outputs,
      inputs: model.inputs,
      run: async () => ({
        y: tensor('float32', new Float32Array(2), [2, 1]),
        s: tensor('float32', new Float32Array(1), [1]),
      }),
    };
    const sink = await runBatch(new Pair(), [jsonItem('a', [1, 2]), jsonItem('b', [3, 4])], {
      model: binding,
    });
    expect(sink.codes).toEqual({ a: 'MODEL_INVALID', b: 'MODEL_INVALID' });
    expect(sink.errors.get('a')?.message).toContain(
      'output "s" of shape [1]; its first dimension must be 2. Set batchSize to 1',
    );
  });

  it('never overlaps two runs of one session', async () => {
    let running = 0;
    let most = 0;
    const model = new DoublingModel();
    model.inputs = [{ name: 'x', dtype: 'float32', shape: ['batch', 'length'] }];
    const run = async (inputs: Tensors): Promise<Tensors> => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return { y: inputs['x'] as NonNullable<Tensors['x']> };
    };
    class Eager extends Pair {
      override async inference(inputs: Tensors, context: RequestsContext): Promise<Tensors> {
        const [outputs] = await Promise.all([context.run(inputs), context.run(inputs)]);
        return outputs;
      }
    }
    await runBatch(new Eager(), [jsonItem('a', [1]), jsonItem('b', [1, 2])], {
      model: { inputs: model.inputs, outputs: [], run },
    });
    expect(most).toBe(1);
  });

  it('takes tensors past preprocess and postprocess', async () => {
    const sink = await runBatch(new Pair(), [tensorItem('t', row([1, 2])), jsonItem('j', [3, 4])]);
    expect(sink.results.get('t')?.output).toEqual({
      kind: 'tensors',
      tensors: { y: tensor('float32', new Float32Array([2, 4]), [1, 2]) },
    });
    expect(answerOf(sink.results.get('j'))).toEqual([6, 8]);
  });

  it('runs tensors without a handler and refuses requests', async () => {
    const sink = await runBatch(undefined, [tensorItem('t', row([1, 2])), jsonItem('j', [3, 4])]);
    expect(sink.results.has('t')).toBe(true);
    expect(sink.codes).toEqual({ j: 'HANDLER_NOT_FOUND' });
  });

  it('gives a value of the application to preprocess as it is, and its answer back as it is', async () => {
    const order = { amount: 1n };
    let seen: unknown;
    class Host extends BaseHandler<{ amount: bigint }, Set<string>> {
      override preprocess(input: { amount: bigint }): Tensors {
        seen = input;
        return row([1, 2]);
      }
      override postprocess(): Set<string> {
        return new Set(['ok']);
      }
    }
    const sink = await runBatch(new Host(), [{ id: 'v', input: { kind: 'value', value: order } }], {
      output: 'value',
    });
    expect(seen).toBe(order);
    expect(sink.results.get('v')?.output).toEqual({ kind: 'value', value: new Set(['ok']) });
  });

  it('hands the same context to all hooks of an item, and another to the next item', async () => {
    const seen = new Map<string, Set<RequestsContext>>();
    const note = (context: RequestsContext): void => {
      const id = context.getRequestId();
      seen.set(id, (seen.get(id) ?? new Set()).add(context));
    };
    class Noting extends Pair {
      override preprocess(values: number[], context?: RequestsContext): Tensors {
        if (context !== undefined) note(context);
        return row(values);
      }
      override postprocess(outputs: Tensors, context?: RequestsContext): number[] {
        if (context !== undefined) note(context);
        return super.postprocess(outputs);
      }
    }
    await runBatch(new Noting(), [jsonItem('a', [1, 2]), jsonItem('b', [1, 2])]);
    expect([...seen].map(([id, contexts]) => [id, contexts.size])).toEqual([
      ['a', 1],
      ['b', 1],
    ]);
    expect(new Set([...seen.values()].flatMap((contexts) => [...contexts])).size).toBe(2);
  });
});

describe('errors of hooks', () => {
  const failing = (error: unknown): BaseHandler<number[], number[]> => {
    class Failing extends Pair {
      override postprocess(): number[] {
        throw error;
      }
    }
    return new Failing();
  };
  const thrown = async (error: unknown): Promise<MarlineError | undefined> =>
    (await runBatch(failing(error), [jsonItem('a', [1, 2])])).errors.get('a');

  it('answers "Prediction failed" and keeps the text for the log', async () => {
    const cause = new Error('SELECT secret FROM /etc/passwd');
    const error = await thrown(cause);
    expect(error).toMatchObject({
      code: 'PREDICTION_FAILED',
      status: 503,
      message: 'Prediction failed',
      details: {},
    });
    expect(error?.cause).toBe(cause);
  });

  it('answers a PredictionException of 200 with the text "error", as TorchServe does', async () => {
    const item = jsonItem('a', [1, 2]);
    const { results } = await runBatch(failing(new PredictionException('no face', 200)), [item]);
    expect(results.get('a')).toMatchObject({ status: 200, output: { kind: 'text', text: 'error' } });
  });

  it.each([
    [undefined, 500],
    [418, 418],
    [599, 599],
    [413, 507],
    [Number.NaN, 500],
  ])('answers a PredictionException of %s with %s', async (code, status) => {
    const error = await thrown(new PredictionException('no face', code));
    expect(error).toMatchObject({ code: 'PREDICTION_EXCEPTION', status, message: 'no face' });
  });

  it.each([
    [new RangeError('Array buffer allocation failed')],
    [new Error('CUDA failure 2: out of memory')],
    [new Error('Failed to allocate memory for requested buffer of size 4096')],
  ])('answers 507 for %s', async (cause) => {
    expect(await thrown(cause)).toMatchObject({ code: 'OUT_OF_RESOURCES', status: 507 });
  });

  it('does not pass the error of another model on as its own', async () => {
    expect(await thrown(new MarlineError('MODEL_NOT_FOUND', { model: 'inner' }))).toMatchObject({
      code: 'PREDICTION_FAILED',
    });
  });

  it('keeps the code of an error that the run itself raised', async () => {
    const model = new DoublingModel();
    const run = () => Promise.reject(new MarlineError('DEADLINE_EXCEEDED', { deadlineMs: 5 }));
    const sink = await runBatch(new Pair(), [jsonItem('a', [1, 2]), jsonItem('b', [1, 2])], {
      model: { inputs: model.inputs, outputs: [], run },
    });
    expect(sink.codes).toEqual({ a: 'DEADLINE_EXCEEDED', b: 'DEADLINE_EXCEEDED' });
  });

  it('answers 503 for an answer that JSON cannot say', async () => {
    class Unserializable extends BaseHandler<number[]> {
      override preprocess = row;
      override postprocess(): unknown {
        return { a: new Set([1, 2]) };
      }
    }
    expect((await runBatch(new Unserializable(), [jsonItem('a', [1, 2])])).codes).toEqual({
      a: 'OUTPUT_NOT_SERIALIZABLE',
    });
  });

  it('reports a failing initialize without its text', async () => {
    class Failing extends BaseHandler {
      override initialize(): void {
        throw new Error('/srv/secret is missing');
      }
    }
    const runner = new HandlerRunner(new Failing(), {
      setup: demoSetup(),
      binding: new DoublingModel(),
      output: 'bytes',
    });
    await expect(runner.initialize()).rejects.toMatchObject({
      code: 'HANDLER_INVALID',
      message: 'demo_handler failed in initialize; the log has the cause.',
      cause: { message: '/srv/secret is missing' },
    });
  });
});

describe('explanations', () => {
  it('calls explain when the header says True, and only then', async () => {
    class Explaining extends Pair {
      override explain(values: number[]): unknown {
        return { explained: values.length };
      }
    }
    const sink = await runBatch(new Explaining(), [
      jsonItem('a', [1, 2], [['explain', 'True']]),
      jsonItem('b', [1, 2], [['explain', 'False']]),
    ]);
    expect(answerOf(sink.results.get('a'))).toEqual({ explained: 2 });
    expect(answerOf(sink.results.get('b'))).toEqual([2, 4]);
  });

  it('refuses when the handler has none', async () => {
    const sink = await runBatch(new Pair(), [jsonItem('a', [1, 2], [['explain', 'True']])]);
    expect(sink.errors.get('a')).toMatchObject({
      code: 'PREDICTION_FAILED',
      status: 503,
      details: { cause: 'Model demo gives no explanations: its handler has no explain.' },
    });
  });
});

describe('the whole batch', () => {
  class Whole extends BaseHandler {
    constructor(
      override readonly handle: (requests: readonly HandlerRequest[], context: RequestsContext) => never,
    ) {
      super();
    }
  }
  const whole = (answer: unknown): Whole => new Whole(() => answer as never);
  const items = [jsonItem('a', { n: 1 }), jsonItem('b', { n: 2 })];

  it('gets all requests by parameter name, with the headers of each', async () => {
    let seen: unknown;
    const handler = new Whole((requests, context) => {
      seen = [
        requests,
        context.requestIds,
        context.getRequestHeader(1, 'X-Me'),
        context.getRequestHeader(1, 'x-me'),
        context.getRequestHeader(0, 'constructor'),
      ];
      context.setResponseStatus(201, 'Made', 1);
      context.setResponseContentType(1, 'text/x');
      return ['a', { b: true }] as never;
    });
    const sink = await runBatch(handler, [
      jsonItem('a', 1),
      jsonItem('b', 2, [
        ['X-Me', 'first'],
        ['X-Me', 'last'],
      ]),
    ]);
    expect(seen).toEqual([[{ body: 1 }, { body: 2 }], ['a', 'b'], 'last', undefined, undefined]);
    expect(sink.results.get('a')).toMatchObject({ status: 200, reason: '', headers: [] });
    expect(sink.results.get('b')).toMatchObject({
      status: 201,
      reason: 'Made',
      headers: [['content-type', 'text/x']],
    });
    expect(answerOf(sink.results.get('b'))).toEqual({ b: true });
  });

  it.each([
    ['an object', { not: 'a list' }, 'INVALID_OUTPUT'],
    ['nothing', undefined, 'INVALID_OUTPUT'],
    ['too few', ['a'], 'BATCH_LENGTH_MISMATCH'],
    ['too many', ['a', 'b', 'c'], 'BATCH_LENGTH_MISMATCH'],
    ['one that JSON cannot say', ['a', 1n], 'OUTPUT_NOT_SERIALIZABLE'],
  ])('fails as one when handle returns %s', async (_what, answer, code) => {
    const sink = await runBatch(whole(answer), items);
    expect(sink.codes).toEqual({ a: code, b: code });
  });

  it('is one hook, of which nobody knows what it did when', async () => {
    expect((await runBatch(whole(['a', 'b']), items)).hookTimes).toEqual([undefined]);
    expect((await runBatch(new Pair(), [jsonItem('a', [1, 2])])).hookTimes).toEqual([
      { preMs: expect.any(Number) as number, postMs: expect.any(Number) as number },
    ]);
  });

  it('fails as one when handle throws', async () => {
    const sink = await runBatch(
      new Whole(() => {
        throw new PredictionException('custom', 418);
      }),
      items,
    );
    expect([...sink.errors.values()].map((error) => error.status)).toEqual([418, 418]);
  });

  it('lets tensors of the same batch through to the model', async () => {
    const sink = await runBatch(whole(['a']), [jsonItem('a', 1), tensorItem('t', row([1, 2]))]);
    expect(answerOf(sink.results.get('a'))).toBe('a');
    expect(sink.results.get('t')?.output.kind).toBe('tensors');
  });
});

describe('the event loop', () => {
  const turnsWhile = async (run: () => Promise<unknown>): Promise<number> => {
    let turns = 0;
    let next = setImmediate(function turned() {
      turns += 1;
      next = setImmediate(turned);
    });
    await run();
    clearImmediate(next);
    return turns;
  };
  const three = [1, 2, 3].map((value) => tensorItem(String(value), row([value, 0])));
  const oneByOne = demoSetup();
  const setup = { ...oneByOne, systemProperties: { ...oneByOne.systemProperties, batchSize: 1 } };

  it('turns between runs that block it for long', async () => {
    const model = new DoublingModel();
    model.check = () => {
      for (const end = performance.now() + 1; performance.now() < end;);
    };
    expect(await turnsWhile(() => runBatch(undefined, three, { model, setup }))).toBe(2);
    expect(await turnsWhile(() => runBatch(new Pair(), [jsonItem('a', [1, 2]), ...three], { model }))).toBe(
      1,
    );
  });

  it('is not asked for by a single run', async () => {
    expect(await turnsWhile(() => runBatch(undefined, three.slice(1), {}))).toBe(0);
  });
});

describe('a model that runs elsewhere', () => {
  const away = (model: DoublingModel) => ({
    inputs: model.inputs,
    outputs: model.outputs,
    run: async (tensors: Tensors) => {
      await new Promise(setImmediate);
      return model.run(tensors);
    },
  });
  const items = [1, 2, 13].map((value) => tensorItem(String(value), row([value, 0])));

  it('gives each item its rows', async () => {
    const model = new DoublingModel();
    const sink = await runBatch(undefined, items, { model: away(model), output: 'value' });
    expect(model.runs).toEqual([[3, 2]]);
    expect(answerOf(sink.results.get('2'))).toMatchObject({
      tensors: { y: { data: Float32Array.of(4, 0) } },
    });
  });

  it('runs the others alone when it refuses one', async () => {
    const model = new DoublingModel();
    model.check = (values) => {
      if (values.includes(13)) throw new Error('index out of range');
    };
    const sink = await runBatch(undefined, items, { model: away(model), output: 'value' });
    expect([...sink.results.keys()]).toEqual(['1', '2']);
    expect(sink.codes).toEqual({ 13: 'PREDICTION_FAILED' });
  });
});
