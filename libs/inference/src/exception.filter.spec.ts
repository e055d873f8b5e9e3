import { describe, expect, it } from 'vitest';
import { MarlineError } from '#libs/common';
import { errorBody } from './exception.filter.js';

const notStarted = (cause: unknown) =>
  errorBody(new MarlineError('WORKERS_NOT_STARTED', { model: 'm', version: '1.0' }, { cause }));

describe('errorBody', () => {
  it('has the fields of TorchServe in its order', () => {
    expect(Object.entries(errorBody(new MarlineError('MODEL_NOT_FOUND', { model: 'm' })))).toEqual([
      ['code', 404],
      ['type', 'ModelNotFoundException'],
      ['message', 'Model not found: m'],
    ]);
  });

  it('tells what an error has to say beside the text of TorchServe', () => {
    const error = new MarlineError(
      'PREDICTION_FAILED',
      { cause: 'send a list' },
      { cause: new Error('secret') },
    );
    expect(errorBody(error)).toMatchObject({ code: 503, message: 'Prediction failed', cause: 'send a list' });
  });

  it('tells no causes of errors in general', () => {
    const error = new MarlineError('INTERNAL', {}, { cause: new Error('secret') });
    expect(JSON.stringify(errorBody(error))).not.toContain('secret');
  });

  it('tells why workers did not start, each reason once', () => {
    const inner = new Error('file is no ONNX model');
    const outer = new Error('could not load', { cause: new Error('could not load', { cause: inner }) });
    expect(notStarted(outer)).toMatchObject({ code: 500, cause: 'could not load: file is no ONNX model' });
  });

  it.each([
    ['Load model from /var/lib/models/abc/m.onnx failed', 'Load model from m.onnx failed'],
    ["ENOENT: no such file, open '/home/u/x y/m.onnx'", "ENOENT: no such file, open 'm.onnx'"],
    ['at file:///srv/app/dist/libs/x.js:12:3', 'at x.js:12:3'],
    ['C:\\models\\m\\x.onnx is broken', 'x.onnx is broken'],
    ['expected text/plain and 1/2, got a/b/c', 'expected text/plain and 1/2, got a/b/c'],
  ])('takes paths out of %s', (text, cleaned) => {
    expect(notStarted(new Error(text))['cause']).toBe(cleaned);
  });

  it('bounds the text and has none when the cause is silent', () => {
    expect(String(notStarted(new Error('x'.repeat(100_000)))['cause'])).toHaveLength(2000);
    expect(notStarted(undefined)).not.toHaveProperty('cause');
  });
});
