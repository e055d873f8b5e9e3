import { describe, expect, it } from 'vitest';
import { ListModelsDto, RegisterModelDto, ScaleModelDto, readParameters } from './models.dto.js';

const query = (text: string) => ({ kind: 'query', query: new URLSearchParams(text) }) as const;
const json = (body: Record<string, unknown>) => ({ kind: 'json', body }) as const;

describe('parameters in a query', () => {
  it('are read by their names in TorchServe', () => {
    const text =
      'url=m.mar&model_name=m&handler=h&runtime=python3&batch_size=8&max_batch_delay=-5&initial_workers=0&response_timeout=7&startup_timeout=%2B8&synchronous=TRUE&replace=true';
    expect(readParameters(RegisterModelDto, query(text))).toEqual({
      url: 'm.mar',
      modelName: 'm',
      handler: 'h',
      runtime: 'python3',
      batchSize: 8,
      maxBatchDelay: -5,
      initialWorkers: 0,
      responseTimeout: 7,
      startupTimeout: 8,
      synchronous: true,
      replace: true,
    });
  });

  it.each(['x', '', '1.5', '1e3', ' 1', '99999999999'])(
    'count as not given when the integer is "%s"',
    (value) => {
      const parameters = readParameters(ScaleModelDto, query(`min_worker=${value}&synchronous=${value}`));
      expect(parameters.minWorker).toBeUndefined();
      expect(parameters.synchronous).toBe(false);
    },
  );

  it("count as not given when they are TorchServe's own marks of that", () => {
    const { batchSize, maxBatchDelay, responseTimeout, startupTimeout } = readParameters(
      RegisterModelDto,
      query('url=m&batch_size=-1&max_batch_delay=-100&response_timeout=-1&startup_timeout=-1'),
    );
    expect([batchSize, maxBatchDelay, responseTimeout, startupTimeout]).toEqual(Array(4).fill(undefined));
  });

  it('are the first of repeated ones; unknown ones are ignored', () => {
    const parameters = readParameters(RegisterModelDto, query('url=a&url=b&foo=1&__proto__=x'));
    expect(parameters.url).toBe('a');
    expect(Object.keys(parameters)).not.toContain('foo');
  });

  it('make registration synchronous and scaling not, unless told', () => {
    expect(readParameters(RegisterModelDto, query('url=a')).synchronous).toBe(true);
    expect(readParameters(RegisterModelDto, query('url=a&synchronous=maybe')).synchronous).toBe(false);
    expect(readParameters(ScaleModelDto, query('')).synchronous).toBe(false);
  });

  it('may be negative where TorchServe reads them so', () => {
    expect(readParameters(ListModelsDto, query('limit=-1&next_page_token=-3'))).toEqual({
      limit: -1,
      nextPageToken: -3,
    });
  });

  it.each([
    ['', 'Parameter url is required.'],
    ['model_name=x', 'Parameter url is required.'],
    ['url=a&runtime=python4', 'Invalid RuntimeType value: python4'],
    ['url=a&runtime=', 'Invalid RuntimeType value: '],
  ])('are refused: "%s"', (text, message) => {
    expect(() => readParameters(RegisterModelDto, query(text))).toThrow(
      expect.objectContaining({ code: 'BAD_REQUEST', message }),
    );
  });
});

describe('parameters in JSON', () => {
  it('may be quoted', () => {
    const parameters = readParameters(
      RegisterModelDto,
      json({ url: 'a', batch_size: '3', synchronous: 'False', model_name: 5 }),
    );
    expect(parameters).toMatchObject({ url: 'a', batchSize: 3, synchronous: false, modelName: '5' });
  });

  it('are not given when null', () => {
    const parameters = readParameters(
      RegisterModelDto,
      json({ url: 'a', batch_size: null, synchronous: null, handler: null }),
    );
    expect(parameters).toMatchObject({ synchronous: true });
    expect(parameters.batchSize).toBeUndefined();
    expect(parameters.handler).toBeUndefined();
  });

  it.each([
    [{ url: 'a', batch_size: 'abc' }, /^Parameter batch_size is an integer/],
    [{ url: 'a', batch_size: 1.5 }, /^Parameter batch_size is an integer/],
    [{ url: 'a', batch_size: {} }, /^Parameter batch_size is an integer/],
    [{ url: 'a', synchronous: 1 }, /^Parameter synchronous is true or false/],
    [{ url: ['a'] }, /^Parameter url is required/],
    [{ url: 'a', model_name: {} }, /^Parameter model_name is a text/],
    [{ modelUrl: 'a' }, /^Parameter url is required/],
  ])('are refused when wrong: %j', (body, message) => {
    expect(() => readParameters(RegisterModelDto, json(body))).toThrow(message);
  });
});
