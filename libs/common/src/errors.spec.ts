import { describe, expect, it } from 'vitest';
import { MarlineError, decodeError, encodeError, isMarlineError, toMarlineError } from './errors.js';

describe('MarlineError', () => {
  it('reads its status, gRPC status, type and text from the table', () => {
    const error = new MarlineError('MODEL_NOT_FOUND', { model: 'fraud' });
    expect(error).toMatchObject({
      code: 'MODEL_NOT_FOUND',
      status: 404,
      grpcStatus: 'NOT_FOUND',
      type: 'ModelNotFoundException',
      message: 'Model not found: fraud',
    });
  });

  it('has the form that error handlers of HTTP frameworks know, and hides the text of what is unknown', () => {
    expect(new MarlineError('INVALID_INPUT', { reason: 'no' })).toMatchObject({
      statusCode: 400,
      status: 400,
      expose: true,
    });
    expect(new MarlineError('INTERNAL', { reason: 'a path' }).expose).toBe(false);
  });

  it('takes the status that a handler chose over the one of the table', () => {
    expect(new MarlineError('PREDICTION_EXCEPTION', { reason: 'no face', status: 422 }).status).toBe(422);
  });

  it.each(['QUEUE_FULL', 'NO_WORKER'] as const)(
    'tells %s apart in its own text and words both as TorchServe for its clients',
    (code) => {
      const error = new MarlineError(code, { model: 'fraud', version: '2.0' });
      expect(error.torchServeMessage).toMatch(
        /^Model "fraud" Version 2\.0" has no worker to serve inference request\./,
      );
      expect(error.message).not.toBe(error.torchServeMessage);
    },
  );

  it('crosses a thread boundary with code, details and the remote stack', () => {
    const sent = new MarlineError(
      'PREDICTION_FAILED',
      { model: 'fraud' },
      { cause: new Error('division by zero') },
    );
    const received = decodeError(structuredClone(encodeError(sent)));
    expect(isMarlineError(received)).toBe(true);
    expect(received).toMatchObject({ code: 'PREDICTION_FAILED', details: { model: 'fraud' } });
    expect((received.cause as Error).stack).toContain('division by zero');
  });

  it('keeps what was thrown as the cause when it wraps a foreign error', () => {
    const cause = new TypeError('x is not a function');
    expect(toMarlineError(cause, 'HANDLER_INVALID')).toMatchObject({ code: 'HANDLER_INVALID', cause });
  });

  it('is known by its code, not by its class', () => {
    expect(isMarlineError(Object.assign(new Error('from another copy'), { code: 'WORKER_DIED' }))).toBe(true);
    expect(isMarlineError(Object.assign(new Error('a file is missing'), { code: 'ENOENT' }))).toBe(false);
  });
});
