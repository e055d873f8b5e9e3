import { EventEmitter } from 'node:events';
import { BadRequestException, Logger, type CallHandler, type ExecutionContext } from '@nestjs/common';
import { of } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, vi, type MockInstance } from 'vitest';
import { MarlineError } from '#libs/common';
import { BatchingInterceptor, type InferOptions } from './batching.interceptor.js';
import type { PredictOptions, ServedModel } from './served-model.js';

interface Risk {
  score: number;
}

function route(
  predict: (input: unknown, options: PredictOptions) => Promise<Risk>,
  options: Partial<InferOptions<unknown, Risk, { body: unknown }>> = {},
) {
  const request: Record<string, unknown> = { body: { amount: 7 } };
  const response = Object.assign(new EventEmitter(), { destroyed: false });
  const context = {
    switchToHttp: () => ({ getRequest: () => request, getResponse: () => ({ raw: response }) }),
  } as unknown as ExecutionContext;
  const handle = vi.fn(() => of('handled'));
  const model = { name: 'fraud', predict } as unknown as ServedModel<unknown, Risk>;
  const interceptor = new BatchingInterceptor<unknown, Risk, { body: unknown }>(model, {
    input: ({ body }) => body,
    attach: 'fraud',
    budgetMs: 20,
    onFailure: 'closed',
    ...options,
  });
  return { request, response, handle, run: () => interceptor.intercept(context, { handle } as CallHandler) };
}

const late = () => Promise.reject(new MarlineError('DEADLINE_EXCEEDED', { deadlineMs: 20 }));

describe('@Infer', () => {
  let warn: MockInstance;
  beforeEach(() => {
    warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  });
  afterEach(() => warn.mockRestore());

  it('attaches the answer before the route runs, within the budget', async () => {
    const predict = vi.fn(async () => ({ score: 0.1 }));
    const { request, run, handle } = route(predict, { version: '2.0' });
    await run();
    expect(request['fraud']).toEqual({ answer: { score: 0.1 } });
    expect(handle).toHaveBeenCalledOnce();
    expect(predict).toHaveBeenCalledWith(
      { amount: 7 },
      expect.objectContaining({ deadlineMs: 20, version: '2.0' }),
    );
  });

  it('refuses what the predicate refuses, with 403', async () => {
    const { run, handle } = route(async () => ({ score: 0.99 }), { refuseIf: ({ score }) => score > 0.9 });
    await expect(run()).rejects.toMatchObject({ status: 403 });
    expect(handle).not.toHaveBeenCalled();
  });

  it('lets the request through without an answer when it is open', async () => {
    const { request, run, handle } = route(late, { onFailure: 'open' });
    await run();
    expect(handle).toHaveBeenCalledOnce();
    expect(request['fraud']).toMatchObject({ failure: { code: 'DEADLINE_EXCEEDED' } });
  });

  it('says that requests pass unchecked, once a minute and not once a request', async () => {
    const { run, request } = route(late, { onFailure: 'open' });
    await run();
    delete request['fraud'];
    await run();
    expect(warn).toHaveBeenCalledOnce();
    expect(warn).toHaveBeenCalledWith(
      expect.stringMatching(/fraud .* passed unchecked: .* deadline of 20 ms/),
    );
  });

  it('answers 503 when it is closed, and keeps the cause for the log', async () => {
    const { run, handle } = route(late);
    await expect(run()).rejects.toMatchObject({ status: 503, cause: { code: 'DEADLINE_EXCEEDED' } });
    expect(handle).not.toHaveBeenCalled();
  });

  it.each(['open', 'closed'] as const)(
    'does not call the route when the client left (%s)',
    async (onFailure) => {
      const { run, response, handle } = route(
        (_input, { signal }) =>
          new Promise((_resolve, reject) =>
            signal?.addEventListener('abort', () => reject(new MarlineError('REQUEST_CANCELLED'))),
          ),
        { onFailure },
      );
      const answer = run();
      await new Promise(setImmediate);
      response.emit('close');
      await expect(answer).rejects.toMatchObject({ status: 499 });
      expect(handle).not.toHaveBeenCalled();
    },
  );

  it('passes on what the input function throws, also when it is open', async () => {
    const predict = vi.fn(late);
    const input = () => {
      throw new BadRequestException('amount is missing');
    };
    await expect(route(predict, { onFailure: 'open', input }).run()).rejects.toThrow('amount is missing');
    expect(predict).not.toHaveBeenCalled();
  });

  it('passes on what the predicate throws', async () => {
    const refuseIf = () => {
      throw new TypeError('wrong predicate');
    };
    await expect(route(async () => ({ score: 1 }), { onFailure: 'open', refuseIf }).run()).rejects.toThrow(
      'wrong predicate',
    );
  });

  it('never overwrites what the request has already', async () => {
    const { request, run } = route(async () => ({ score: 1 }), { attach: 'user' });
    request['user'] = { id: 1 };
    await expect(run()).rejects.toThrow('has a property "user" already');
    expect(request['user']).toEqual({ id: 1 });
  });
});
