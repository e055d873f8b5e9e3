import { describe, expect, it } from 'vitest';
import { MarlineError, tensor, type ItemOutput, type ItemResult } from '#libs/common';
import type { ModelRegistry } from './model-registry.js';
import type { PredictionAnswer, PredictionRequest } from './prediction.js';
import { ServedModel } from './served-model.js';

const result = (output: ItemOutput, more: Partial<ItemResult> = {}): ItemResult => ({
  status: 200,
  reason: '',
  headers: [],
  output,
  ...more,
});
const bytes = (text: string, encoding: 'json' | 'text' | 'binary'): ItemOutput => ({
  kind: 'bytes',
  bytes: new TextEncoder().encode(text),
  encoding,
});

function modelThatAnswers(answer: ItemResult | PredictionAnswer) {
  const asked: { request: PredictionRequest; version: string | undefined }[] = [];
  const registry = {
    route: (name: string, version?: string) => ({
      predict: async (request: PredictionRequest): Promise<PredictionAnswer> => {
        if (name !== 'fraud') throw new MarlineError('MODEL_NOT_FOUND', { model: name });
        asked.push({ request, version });
        return 'streaming' in answer ? answer : { streaming: false, result: answer };
      },
    }),
  } as unknown as ModelRegistry;
  return { model: new ServedModel('fraud', registry), asked };
}

function parts(texts: string[]) {
  const state = { closed: false };
  const waiting = texts.slice(1);
  const rest: AsyncIterableIterator<ItemResult> = {
    [Symbol.asyncIterator]: () => rest,
    next: async () => {
      const text = waiting.shift();
      return text === undefined
        ? { done: true, value: undefined }
        : { done: false, value: result(bytes(text, 'text')) };
    },
    return: async () => {
      state.closed = true;
      return { done: true, value: undefined };
    },
  };
  const answer: PredictionAnswer = {
    streaming: true,
    first: result(bytes(texts[0] ?? '', 'text')),
    rest,
  };
  return { answer, state };
}

describe('a served model', () => {
  it.each([
    ['a value of a host handler', { kind: 'value', value: new Date(0) }, new Date(0)],
    [
      'tensors',
      { kind: 'tensors', tensors: { y: tensor('int8', Int8Array.of(1), [1]) } },
      { y: tensor('int8', Int8Array.of(1), [1]) },
    ],
    ['JSON, parsed', bytes('{"score":0.5}', 'json'), { score: 0.5 }],
    ['text', bytes('café', 'text'), 'café'],
    ['bytes', bytes('raw', 'binary'), Buffer.from('raw')],
  ] as [string, ItemOutput, unknown][])('answers %s', async (_what, output, expected) => {
    expect(await modelThatAnswers(result(output)).model.predict('x')).toEqual(expected);
  });

  it('hands the input over as it is, with the limits and the version', async () => {
    const { model, asked } = modelThatAnswers(result(bytes('1', 'json')));
    const { signal } = new AbortController();
    const input = { order: 1 };
    await model.predict(input, { signal, deadlineMs: 20, version: '2.0' });
    await model.predict(input);
    expect(asked[0]).toMatchObject({ version: '2.0', request: { deadlineMs: 20, signal } });
    expect(asked[0]?.request.input).toEqual({ kind: 'value', value: input });
    expect(asked[0]?.request.input).toHaveProperty('value', input);
    expect(asked[1]?.version).toBeUndefined();
    expect(asked[1]?.request.id).not.toBe(asked[0]?.request.id);
  });

  it('rejects a priority that there is not, and asks nobody', async () => {
    const { model, asked } = modelThatAnswers(result(bytes('1', 'json')));
    await expect(model.predict(1, { priority: 'urgent' as 'high' })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: `The priority of a call is 'high', 'normal' or 'low', not "urgent".`,
    });
    expect(asked).toEqual([]);
  });

  it('rejects, and does not throw, when there is no such model', async () => {
    const registry = {
      route: () => {
        throw new MarlineError('MODEL_NOT_FOUND', { model: 'fraud' });
      },
    };
    await expect(new ServedModel('fraud', registry).predict(1)).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
    });
  });

  it('rejects with the status that the handler chose', async () => {
    const { model } = modelThatAnswers(result(bytes('no such customer', 'text'), { status: 422 }));
    await expect(model.predict(1)).rejects.toMatchObject({
      code: 'PREDICTION_EXCEPTION',
      status: 422,
      message: 'Model fraud answered 422: no such customer',
    });
  });

  it('refuses an answer in parts, and lets its producer go', async () => {
    const { answer, state } = parts(['a', 'b', 'c']);
    await expect(modelThatAnswers(answer).model.predict(1)).rejects.toThrow('read them with stream()');
    expect(state.closed).toBe(true);
  });
});

describe('a stream of a served model', () => {
  const read = async (stream: AsyncGenerator) => {
    const seen: unknown[] = [];
    for await (const part of stream) seen.push(part);
    return seen;
  };

  it('gives the parts in order', async () => {
    expect(await read(modelThatAnswers(parts(['a', 'b', 'c']).answer).model.stream(1))).toEqual([
      'a',
      'b',
      'c',
    ]);
  });

  it('is one part when the answer is', async () => {
    expect(await read(modelThatAnswers(result(bytes('[1]', 'json'))).model.stream(1))).toEqual([[1]]);
  });

  it('lets the producer go when the reader leaves after the first part', async () => {
    const { answer, state } = parts(['a', 'b', 'c']);
    for await (const part of modelThatAnswers(answer).model.stream(1)) {
      expect(part).toBe('a');
      break;
    }
    expect(state.closed).toBe(true);
  });
});
