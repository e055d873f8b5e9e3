import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterEach, describe, expect, it } from 'vitest';
import type { ErrorCode, Tensor, Tensors } from '#libs/common';
import { sampleInputs } from '../../libs/inference/src/sample-inputs.js';
import { OnnxSession } from '../../libs/inference/src/onnx-session.js';

const modelPath = (name: string) =>
  fileURLToPath(new URL(`../fixtures/models/${name}.onnx`, import.meta.url));
const refusal = (code: ErrorCode, text: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(text) });

let native = 0;
const opened: OnnxSession[] = [];

function open(name: string): OnnxSession {
  const plan = {
    path: modelPath(name),
    executionProvider: 'cpu',
    deviceId: null,
    shared: false,
    intraOpThreads: 1,
  } as const;
  const session = OnnxSession.open(plan, (call) => {
    native += 1;
    return call();
  });
  opened.push(session);
  return session;
}

afterEach(() => {
  for (const session of opened.splice(0)) session.release();
});

const floats = (...shape: number[]) => ({
  dtype: 'float32' as const,
  shape,
  data: new Float32Array(shape.reduce((product, size) => product * size, 1)),
});

function transferredAway(...shape: number[]): Tensor {
  const tensor = floats(...shape);
  structuredClone(tensor.data, { transfer: [tensor.data.buffer] });
  return tensor;
}

describe('OnnxSession', () => {
  it('tells name, type and shape of inputs and outputs, with free dimensions by name', () => {
    const session = open('mnist_cnn');
    expect(session.inputs).toEqual([{ name: 'input', dtype: 'float32', shape: ['batch', 1, 28, 28] }]);
    expect(session.outputs).toEqual([{ name: 'log_probs', dtype: 'float32', shape: ['batch', 10] }]);
  });

  it('reads all ten digits in one batch', async () => {
    const data = new Float32Array(10 * 28 * 28);
    for (let digit = 0; digit < 10; digit++) {
      const file = fileURLToPath(new URL(`../fixtures/images/digit_${digit}.png`, import.meta.url));
      const pixels = await sharp(file).greyscale().raw().toBuffer();
      data.set(
        Float32Array.from(pixels, (pixel) => (pixel / 255 - 0.1307) / 0.3081),
        digit * 28 * 28,
      );
    }
    const session = open('mnist_cnn');
    const outputs = session.run({ input: { dtype: 'float32', shape: [10, 1, 28, 28], data } });
    const scores = [...(outputs['log_probs']?.data ?? [])].map(Number);
    const digits = Array.from({ length: 10 }, (_, row) => {
      const own = scores.slice(row * 10, row * 10 + 10);
      return own.indexOf(Math.max(...own));
    });
    expect(digits).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('carries every element type through the model and gives buffers that may be transferred', () => {
    const session = open('identities');
    const data = {
      float: ['float32', new Float32Array([1.5, -0])],
      double: ['float64', new Float64Array([Math.PI, NaN])],
      float16: ['float16', new Uint16Array([0x3c00, 0xfc00])],
      int8: ['int8', new Int8Array([-128, 127])],
      uint8: ['uint8', new Uint8Array([0, 255])],
      int16: ['int16', new Int16Array([-32768, 1])],
      uint16: ['uint16', new Uint16Array([65535, 1])],
      int32: ['int32', new Int32Array([-1, 2 ** 31 - 1])],
      uint32: ['uint32', new Uint32Array([0, 2 ** 32 - 1])],
      int64: ['int64', new BigInt64Array([-(2n ** 63n), 2n ** 63n - 1n])],
      uint64: ['uint64', new BigUint64Array([0n, 2n ** 64n - 1n])],
      bool: ['bool', new Uint8Array([0, 1])],
      string: ['string', ['', 'ž 😀']],
    } as const;
    const inputs = Object.fromEntries(
      Object.entries(data).map(([name, [dtype, values]]) => [name, { dtype, shape: [1, 2], data: values }]),
    ) as unknown as Tensors;

    const outputs = session.run(inputs);

    for (const [name, tensor] of Object.entries(inputs)) expect(outputs[`${name}_out`]).toEqual(tensor);
    const buffers = Object.values(outputs).flatMap(({ data }) =>
      Array.isArray(data) ? [] : [data.buffer as ArrayBuffer],
    );
    expect(new Set(buffers).size).toBe(12);
    structuredClone(outputs, { transfer: buffers });
    expect(outputs['float_out']?.data).toHaveLength(0);
    expect(inputs['float']?.data).toHaveLength(2);
  });

  it('makes every call into native code through the wrapper', () => {
    const before = native;
    const session = open('mlp');
    session.run({ input: floats(1, 128) });
    expect(native - before).toBe(4);
  });

  it.each<[string, Tensors, RegExp]>([
    ['an input is missing', {}, /"input" is missing/],
    ['the rank is wrong', { input: floats(128) }, /input Got: 1 Expected: 2/],
    ['a fixed dimension is wrong', { input: floats(1, 127) }, /Got: 127 Expected: 128/],
    [
      'the type is wrong',
      { input: { dtype: 'int32', shape: [1, 128], data: new Int32Array(128) } },
      /int32.*float/,
    ],
    [
      'the array is of another type',
      { input: { ...floats(1, 128), data: new Int32Array(128) } },
      /"input" does not fit/,
    ],
    [
      'the data are too short',
      { input: { ...floats(1, 128), data: new Float32Array(3) } },
      /not fit its shape \[1,128\]/,
    ],
    ['a dimension is negative', { input: { ...floats(0, 128), shape: [-1, 128] } }, /does not fit its shape/],
    ['a buffer was transferred away', { input: transferredAway(1, 128) }, /does not fit its shape/],
  ])('refuses a run when %s', (_, inputs, text) => {
    const session = open('mlp');
    expect(() => session.run(inputs)).toThrow(refusal('INVALID_INPUT', text));
    expect(Object.keys(session.run({ input: floats(2, 128) }))).toEqual(['logits']);
  });

  it('refuses elements of a string tensor that are no strings', () => {
    const session = open('identities');
    const inputs = Object.fromEntries(
      sampleInputs(session.inputs).flatMap((sample) => Object.entries(sample)),
    );
    const wrong = { dtype: 'string', shape: [1, 2], data: [7, {}] as unknown as string[] } as const;
    expect(() => session.run({ ...inputs, string: wrong })).toThrow(refusal('INVALID_INPUT', /string/));
  });

  it.each([
    ['sequence_output', /output "pieces" is a sequence or a map/],
    ['map_output', /output "probabilities" is a sequence or a map.*without ZipMap/],
    ['bfloat16_input', /type bfloat16, which cannot be served/],
  ])('refuses %s, which cannot be served', (name, text) => {
    expect(() => open(name)).toThrow(refusal('MODEL_INVALID', text));
  });

  it('reports a run that fails inside the model as that, with the reason for the log', () => {
    const session = open('failing_reshape');
    expect(() => session.run({ x: floats(1, 3) })).toThrow(
      expect.objectContaining({ code: 'PREDICTION_FAILED', message: 'Prediction failed' }),
    );
  });
});
