import { describe, expect, it } from 'vitest';
import type { BatchItem, BatchSink, ItemResult, MarlineError } from '#libs/common';
import { PythonBatch } from './python-batch.js';
import type { Prediction } from './reply-reader.js';

const item = (id: string): BatchItem => ({ id, input: { kind: 'raw', headers: '', parameters: [] } });

const prediction = (id: string, overrides: Partial<Prediction> = {}): Prediction => ({
  id,
  contentType: '',
  status: 200,
  reason: '',
  headers: [],
  body: Buffer.from(id),
  ...overrides,
});

const part = (id: string) => prediction(id, { headers: [['ts_stream_next', 'true']] });

function setUp(...ids: string[]) {
  return setUpBatch(ids, false);
}

function setUpBatch(ids: readonly string[], continuous: boolean) {
  const told: string[] = [];
  const takers: (() => void)[] = [];
  const results: ItemResult[] = [];
  const errors: MarlineError[] = [];
  const sink: BatchSink = {
    chunk: (id) => {
      told.push(`part ${id}`);
      return new Promise((resolve) => takers.push(resolve));
    },
    result: (id, result) => {
      told.push(`result ${id}`);
      results.push(result);
    },
    error: (id, error) => {
      told.push(`${error.code} ${id}`);
      errors.push(error);
    },
    ran: (items, durationMs) => told.push(`ran ${items} in ${durationMs}`),
  };
  const flow = { pause: () => told.push('pause'), resume: () => told.push('resume') };
  const batch = new PythonBatch(ids.map(item), sink, flow, 100, continuous);
  const reply = (...predictions: Prediction[]) => batch.reply({ code: 200, message: 'ok', predictions }, 130);
  return { batch, reply, told, takers, results, errors };
}

describe('a batch in a Python worker', () => {
  it('is over with each reply when its answers go on in other batches', () => {
    const { reply, told, results } = setUpBatch(['a', 'b'], true);
    expect(reply(part('a'), prediction('b'))).toBe(true);
    expect(told).toEqual(['result a', 'result b', 'ran 2 in 30']);
    expect(results[0]?.headers).toEqual([['ts_stream_next', 'true']]);
  });

  it('is over when each item has its answer', () => {
    const { reply, told, batch } = setUp('a', 'b');
    expect(reply(prediction('b'), prediction('a'))).toBe(true);
    expect(told).toEqual(['result b', 'result a', 'ran 2 in 30']);
    expect(batch.size).toBe(0);
  });

  it('goes on while one item streams, and waits for all readers', async () => {
    const { reply, told, takers } = setUp('a', 'b');
    expect(reply(part('a'), part('b'))).toBe(false);
    takers[0]?.();
    await Promise.resolve();
    expect(told).toEqual(['part a', 'part b', 'pause']);
    takers[1]?.();
    await new Promise(setImmediate);
    expect(told.at(-1)).toBe('resume');
    expect(reply(prediction('a'), prediction('b'))).toBe(true);
  });

  it('waits for nobody who is gone', async () => {
    const { reply, told, batch } = setUp('a');
    reply(part('a'));
    batch.cancel('a');
    await new Promise(setImmediate);
    expect(told.at(-1)).toBe('resume');
    expect(reply(part('a'))).toBe(false);
    expect(told.filter((line) => line === 'part a')).toHaveLength(1);
  });

  it('fails an item that the worker forgot', () => {
    const { reply, told } = setUp('a', 'b');
    expect(reply(prediction('a'))).toBe(true);
    expect(told).toEqual(['result a', 'ran 1 in 30', 'INVALID_OUTPUT b']);
  });

  it.each([
    ['of nobody', [prediction('stranger')]],
    ['that came already', [prediction('a'), prediction('a')]],
  ])('refuses an answer %s', (_what, predictions) => {
    const { reply } = setUp('a');
    expect(() => reply(...predictions)).toThrow(expect.objectContaining({ code: 'WORKER_DIED' }) as Error);
  });

  it.each([
    [503, 'Prediction failed', 'PREDICTION_FAILED', 503],
    [507, 'Out of resources', 'OUT_OF_RESOURCES', 507],
    [503, 'number of batch response mismatched', 'BATCH_LENGTH_MISMATCH', 503],
    [503, 'Unsupported model output data type.', 'OUTPUT_NOT_SERIALIZABLE', 503],
    [418, 'Prediction failed', 'PREDICTION_EXCEPTION', 418],
    [413, 'too much', 'PREDICTION_EXCEPTION', 507],
  ])('fails as a whole with %i %s', (code, message, name, status) => {
    const { batch, errors, told } = setUp('a', 'b');
    expect(batch.reply({ code, message, predictions: [] }, 130)).toBe(true);
    expect(told).toEqual([`${name} a`, `${name} b`]);
    expect(errors[0]).toMatchObject({ status, message });
  });

  it.each([
    ['', 'unknown', undefined],
    ['application/json; charset=utf-8', 'json', 'application/json; charset=utf-8'],
    ['text/csv', 'text', 'text/csv'],
    ['image/png', 'binary', 'image/png'],
  ])('says how an answer of type "%s" is to be read', (contentType, encoding, header) => {
    const { reply, results } = setUp('a');
    reply(prediction('a', { contentType, headers: [['x-own', '1']] }));
    expect(results[0]).toMatchObject({ output: { kind: 'bytes', encoding } });
    expect(new Map(results[0]?.headers).get('content-type')).toBe(header);
  });

  it('takes a request of the open inference protocol as JSON, unless tensors stand behind it', () => {
    const body = Buffer.from('{"inputs":[]}');
    const { batch, told } = setUp('a', 'b');
    const frame = batch.frameOf([
      { id: 'a', input: { kind: 'protocol', body } },
      { id: 'b', input: { kind: 'protocol', body, jsonBytes: 3 } },
    ]);
    expect(frame?.includes('application/json')).toBe(true);
    expect(frame?.includes(body)).toBe(true);
    expect(told).toEqual(['INVALID_INPUT b']);
  });
});
