import { describe, expect, it, vi } from 'vitest';
import type { Tensors } from '#libs/common';
import {
  DoublingModel,
  Pair,
  RecordingSink,
  answerOf,
  bodyItem,
  demoSetup,
  jsonItem,
  row,
  runBatch,
} from '../../../test/handler/fakes.js';
import { BaseHandler } from './base-handler.js';
import type { RequestsContext } from './context.js';
import type { HandlerItem } from './handler-context.js';
import { PredictionException } from './handler-errors.js';

describe('parts of an answer', () => {
  it('sends each part when the reader has room, and marks the last one', async () => {
    const log: string[] = [];
    class Streaming extends BaseHandler<string> {
      override preprocess(): Tensors {
        return row([1, 2]);
      }
      override async postprocess(_outputs: Tensors, context: RequestsContext): Promise<unknown> {
        context.setResponseContentType(0, 'text/plain');
        for (const part of ['one ', 'two ']) {
          await context.sendIntermediateResponse(0, part);
          log.push(part);
        }
        return 'end';
      }
    }
    const sink = new RecordingSink();
    const readers: (() => void)[] = [];
    sink.room = () => new Promise((resolve) => readers.push(resolve));
    const done = runBatch(new Streaming(), [bodyItem('a', 'text/plain', new Uint8Array())], { sink });
    const sent = (count: number) => vi.waitFor(() => expect(sink.chunks).toHaveLength(count));
    await sent(1);
    expect(log).toEqual([]);
    readers[0]?.();
    await sent(2);
    expect(log).toEqual(['one ']);
    readers[1]?.();
    await done;
    expect(sink.chunks.map(([id, chunk]) => [id, answerOf(chunk), chunk.headers])).toEqual([
      [
        'a',
        'one ',
        [
          ['ts_stream_next', 'true'],
          ['content-type', 'text/plain'],
        ],
      ],
      [
        'a',
        'two ',
        [
          ['ts_stream_next', 'true'],
          ['content-type', 'text/plain'],
        ],
      ],
    ]);
    expect(sink.results.get('a')?.headers).toEqual([
      ['ts_stream_next', 'false'],
      ['content-type', 'text/plain'],
    ]);
  });

  it('can come in batches of their own, whose runs are stacked for all that are in them', async () => {
    const known = new Map<string, number>();
    class Counting extends BaseHandler<number[] | Record<string, never>> {
      override preprocess(input: number[] | Record<string, never>, context: RequestsContext): Tensors {
        const id = context.getRequestId();
        const next = Array.isArray(input) ? (input[0] ?? 0) : (known.get(id) ?? 0);
        return row([next, next]);
      }
      override postprocess({ y }: Tensors, context: RequestsContext): number {
        const last = Number(y?.data[0]);
        known.set(context.getRequestId(), last);
        if (last < 8) context.continueResponse();
        return last;
      }
    }
    const setup = demoSetup({ continuousBatching: true });
    const model = new DoublingModel();
    const handler = new Counting();
    const cycle = async (items: HandlerItem[]) => {
      const { results } = await runBatch(handler, items, { model, setup });
      return items.map(({ id }) => [answerOf(results.get(id)), results.get(id)?.headers]);
    };
    const goesOn = [['ts_stream_next', 'true']];
    expect(await cycle([jsonItem('a', [1, 1]), jsonItem('b', [2, 2])])).toEqual([
      [2, goesOn],
      [4, goesOn],
    ]);
    const again = (id: string): HandlerItem => ({ id, input: { kind: 'raw', headers: '', parameters: [] } });
    expect(await cycle([again('a'), again('b'), jsonItem('c', [3, 3])])).toEqual([
      [4, goesOn],
      [8, []],
      [6, goesOn],
    ]);
    expect(model.runs).toEqual([
      [2, 2],
      [3, 2],
    ]);
  });

  it('cannot go on in another batch without continuous batching', async () => {
    class Going extends Pair {
      override inference(inputs: Tensors, context: RequestsContext): Promise<Tensors> {
        context.continueResponse();
        return context.run(inputs);
      }
    }
    const { errors } = await runBatch(new Going(), [jsonItem('a', [1, 2])]);
    expect(errors.get('a')).toMatchObject({
      code: 'PREDICTION_FAILED',
      cause: { message: expect.stringContaining('continuousBatching: true') as string },
    });
  });

  it('lets nothing out once the item is answered', async () => {
    let late: (() => Promise<unknown>[]) | undefined;
    class Late extends Pair {
      override preprocess(values: number[], context?: RequestsContext): Tensors {
        late = () => [
          context?.sendIntermediateResponse(0, 'late') as Promise<void>,
          context?.run(row([1, 2])) as Promise<Tensors>,
        ];
        return row(values);
      }
    }
    const model = new DoublingModel();
    const sink = await runBatch(new Late(), [jsonItem('a', [1, 2])], { model });
    const outcomes = await Promise.allSettled(late?.() ?? []);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected']);
    expect([sink.chunks.length, model.runs.length]).toEqual([0, 1]);
  });

  it('gives up a run that an item no longer waits for, without holding the others', async () => {
    class Hasty extends Pair {
      override inference(inputs: Tensors, context: RequestsContext): Tensors | Promise<Tensors> {
        if (inputs['x']?.data[0] !== 1) return context.run(inputs);
        void context.run(inputs);
        throw new PredictionException('hasty');
      }
    }
    const sink = await runBatch(new Hasty(), [jsonItem('a', [1, 2]), jsonItem('b', [3, 4])]);
    expect(sink.codes).toEqual({ a: 'PREDICTION_EXCEPTION' });
    expect(answerOf(sink.results.get('b'))).toEqual([6, 8]);
  });
});

describe('the context', () => {
  it("reports metrics in TorchServe's units", async () => {
    class Counting extends Pair {
      override preprocess(values: number[], context?: RequestsContext): Tensors {
        context?.metrics.addCounter('Seen', 2, { Kind: 'pair' });
        context?.metrics.addTime('Took', 12.5);
        context?.metrics.addSize('Size', 3, 'kB');
        context?.metrics.addPercent('Sure', 55.5);
        context?.metrics.addError('Odd', 1);
        context?.metrics.addMetric('Own', 7, 'pages', {}, 'histogram');
        return row(values);
      }
    }
    const setup = demoSetup();
    await runBatch(new Counting(), [jsonItem('a', [1, 2])], { setup });
    expect(setup.metrics.map(({ name, value, unit, type }) => [name, value, unit, type])).toEqual([
      ['Seen', 2, 'Count', 'counter'],
      ['Took', 12.5, 'Milliseconds', 'gauge'],
      ['Size', 3, 'Kilobytes', 'gauge'],
      ['Sure', 55.5, 'Percent', 'gauge'],
      ['Odd', 1, 'unit', 'counter'],
      ['Own', 7, 'pages', 'histogram'],
    ]);
    expect(setup.metrics[0]).toMatchObject({
      dimensions: { Kind: 'pair', ModelName: 'demo', Level: 'Model' },
      requestIds: 'a',
    });
    expect(setup.metrics[4]?.dimensions).toEqual({ Level: 'Error' });
  });

  it.each([
    ['a status that HTTP has not', (context: RequestsContext) => context.setResponseStatus(99)],
    [
      'a header with a line break',
      (context: RequestsContext) => context.setResponseHeader(0, 'X-Me', 'a\r\nSet-Cookie: b'),
    ],
    ['a header name with a blank', (context: RequestsContext) => context.setResponseHeader(0, 'X Me', 'a')],
    ['a request that is not there', (context: RequestsContext) => context.setResponseStatus(200, '', 3)],
  ])('blames the handler for %s', async (_what, act) => {
    class Odd extends Pair {
      override preprocess(values: number[], context?: RequestsContext): Tensors {
        if (context !== undefined) act(context);
        return row(values);
      }
    }
    expect((await runBatch(new Odd(), [jsonItem('a', [1, 2])])).codes).toEqual({ a: 'PREDICTION_FAILED' });
  });
});
