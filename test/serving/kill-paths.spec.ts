import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateSync, crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InferenceObserver, tensor, type MarlineError, type ModelRef, type Tensors } from '#libs/common';
import { BaseHandler, ModelHandler } from '#libs/handler';
import { mlpInput, openRegistry, predict, type OpenRegistry } from '../support/open-registry.js';

let open: OpenRegistry;
beforeEach(async () => {
  open = await openRegistry();
});
afterEach(() => open.close());

const register = (url: string, more: { responseTimeout?: number; batchSize?: number } = {}) =>
  open.registry.register({ url, initialWorkers: 1, synchronous: true, ...more });

/** Whatever went wrong before, the process still serves. */
async function servesOn(): Promise<void> {
  await open.pack({
    modelName: 'witness',
    handler: 'tensor',
    runtime: 'node',
    serializedFile: 'models/mlp.onnx',
  });
  await register('witness.mar');
  expect(await predict(open.registry, 'witness', mlpInput())).toHaveProperty('logits');
}

describe('a handler in a worker', () => {
  beforeEach(() => open.pack({ modelName: 'faulty', handler: 'handlers/faulty_handler.mjs' }));

  it('that throws fails its own request with 503 and keeps the text to itself', async () => {
    await register('faulty.mar');
    const failed = predict(open.registry, 'faulty', 'throw');
    await expect(failed).rejects.toMatchObject({
      code: 'PREDICTION_FAILED',
      status: 503,
      message: 'Prediction failed',
    });
    expect(await predict(open.registry, 'faulty', 'nothing')).toEqual({ fine: true });
    await servesOn();
  });

  it('that throws fails alone in its batch', async () => {
    await register('faulty.mar', { batchSize: 8 });
    const settled = await Promise.allSettled(
      ['nothing', 'throw', 'nothing', 'prediction-exception'].map((fault) =>
        predict(open.registry, 'faulty', fault),
      ),
    );
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
    expect(settled[3]).toMatchObject({ reason: { status: 422, message: 'no face in the photo' } });
  });

  it.each(['endless-loop', 'never'])(
    'that does not come back (%s) is answered at the response timeout, and its worker replaced',
    async (fault) => {
      const runtime = await register('faulty.mar', { responseTimeout: 1 });
      await expect(predict(open.registry, 'faulty', fault)).rejects.toMatchObject({
        code: 'WORKER_DIED',
        status: 500,
      });
      expect(await predict(open.registry, 'faulty', 'nothing')).toEqual({ fine: true });
      expect(runtime.workers()).toHaveLength(1);
      await servesOn();
    },
  );

  it.each(['endless-loop', 'never', 'exit'])(
    'that ends badly (%s) takes no other request along, however quick the model was before',
    async (fault) => {
      await register('faulty.mar', { responseTimeout: 1 });
      for (let run = 0; run < 20; run++) await predict(open.registry, 'faulty', 'nothing');
      const settled = await Promise.allSettled(
        ['nothing', fault, 'nothing', 'nothing'].map((each) => predict(open.registry, 'faulty', each)),
      );
      expect(settled.map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'fulfilled',
        'fulfilled',
      ]);
    },
  );

  it('that ends its thread fails its request; the next one is served by a new worker', async () => {
    await register('faulty.mar');
    await expect(predict(open.registry, 'faulty', 'exit')).rejects.toMatchObject({ code: 'WORKER_DIED' });
    expect(await predict(open.registry, 'faulty', 'nothing')).toEqual({ fine: true });
  });
});

describe('a model', () => {
  it.each([
    ['garbage', () => randomBytes(4096)],
    ['an empty file', () => Buffer.alloc(0)],
    ['text', () => Buffer.from('this is not a model')],
  ])(
    'that is %s fails its registration with the reason, stays listed, and is not tried again',
    async (_title, bytes) => {
      await writeFile(join(open.store, 'broken.onnx'), bytes());
      await open.pack({
        modelName: 'broken',
        handler: 'tensor',
        runtime: 'node',
        serializedFile: join(open.store, 'broken.onnx'),
      });
      await expect(register('broken.mar')).rejects.toMatchObject({
        code: 'WORKERS_NOT_STARTED',
        status: 500,
        cause: { code: 'MODEL_INVALID' },
      });
      expect(open.registry.get('broken').status()).toMatchObject({
        status: 'stopped',
        error: { code: 'MODEL_INVALID' },
      });
      await expect(predict(open.registry, 'broken', mlpInput())).rejects.toMatchObject({ code: 'NO_WORKER' });
      await servesOn();
    },
  );

  it('that is given a wrong shape names the input, what it expects and what it got', async () => {
    await open.pack({
      modelName: 'mlp',
      handler: 'tensor',
      runtime: 'node',
      serializedFile: 'models/mlp.onnx',
    });
    await register('mlp.mar');
    const wrong: Tensors = { input: tensor('float32', new Float32Array(6), [2, 3]) };
    await expect(predict(open.registry, 'mlp', wrong)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      status: 400,
      message: expect.stringMatching(/input.*128.*3/s) as string,
    });
    expect(await predict(open.registry, 'mlp', mlpInput())).toHaveProperty('logits');
  });

  it('of a runtime that is not there is registered, and its workers fail with the name and the way out', async () => {
    await writeFile(join(open.store, 'handler.so'), '');
    await open.pack({ modelName: 'native', handler: join(open.store, 'handler'), runtime: 'LSP' });
    await expect(register('native.mar')).rejects.toMatchObject({
      cause: {
        code: 'RUNTIME_UNSUPPORTED',
        message: expect.stringMatching(/"handler" \(runtime LSP\).*Use a built-in handler/s) as string,
      },
    });
  });
});

describe('an archive', () => {
  it('that is corrupt is refused, and leaves nothing behind', async () => {
    await open.pack({
      modelName: 'mlp',
      handler: 'tensor',
      runtime: 'node',
      serializedFile: 'models/mlp.onnx',
    });
    await writeFile(
      join(open.store, 'corrupt.mar'),
      Buffer.concat([Buffer.from('PK\x03\x04'), randomBytes(2000)]),
    );
    await expect(register('corrupt.mar')).rejects.toMatchObject({
      code: expect.stringMatching(/^ARCHIVE_/) as string,
    });
    expect(open.registry.names()).toEqual([]);
    await servesOn();
  });
});

describe('an image', () => {
  it('of 60,000 × 60,000 pixels is refused before it is decoded', async () => {
    await open.pack({
      modelName: 'classifier',
      handler: 'image_classifier',
      serializedFile: 'models/efficientnet-lite0-int8.onnx',
    });
    await register('classifier.mar');
    await expect(predict(open.registry, 'classifier', hugePng(60_000, 60_000))).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(/pixel/) as string,
    });
    await servesOn();
  });
});

describe('a handler of the host', () => {
  @ModelHandler('hanging')
  class HangingHandler extends BaseHandler<string> {
    override preprocess(input: string): Tensors | Promise<Tensors> {
      return input === 'hang' ? new Promise(() => {}) : mlpInput();
    }
    override postprocess(outputs: Tensors): number {
      return outputs['logits']?.data.length ?? 0;
    }
  }

  it('whose hook never resolves is answered at the deadline, or else at the response timeout', async () => {
    await open.close();
    open = await openRegistry({ handlers: [HangingHandler] });
    await open.pack({
      modelName: 'hanging',
      handler: 'hanging',
      runtime: 'node',
      serializedFile: 'models/mlp.onnx',
    });
    await register('hanging.mar', { responseTimeout: 1 });
    await expect(predict(open.registry, 'hanging', 'hang', { deadlineMs: 30 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    await expect(predict(open.registry, 'hanging', 'hang')).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    expect(await predict(open.registry, 'hanging', 'go on')).toBe(10);
  });

  it('whose hook never resolves is answered when the model is taken away and its drain time is over', async () => {
    await open.close();
    open = await openRegistry({ handlers: [HangingHandler], drainTimeoutMs: 100 });
    await open.pack({
      modelName: 'hanging',
      handler: 'hanging',
      runtime: 'node',
      serializedFile: 'models/mlp.onnx',
    });
    await register('hanging.mar');
    const hung = expect(predict(open.registry, 'hanging', 'hang')).rejects.toMatchObject({
      code: 'SHUTTING_DOWN',
    });
    await open.registry.unregister('hanging');
    await hung;
  });

  it('is told to the observer under the id of its request, answered or failed', async () => {
    const told: string[] = [];
    class Recorder extends InferenceObserver {
      override requestQueued(_ref: ModelRef, id: string): void {
        told.push(`queued ${id}`);
      }
      override requestFinished(_ref: ModelRef, id: string): void {
        told.push(`finished ${id}`);
      }
      override requestFailed(_ref: ModelRef, id: string, { code }: MarlineError): void {
        told.push(`failed ${id} ${code}`);
      }
    }
    await open.close();
    open = await openRegistry({ handlers: [HangingHandler], observer: new Recorder() });
    await open.pack({
      modelName: 'hanging',
      handler: 'hanging',
      runtime: 'node',
      serializedFile: 'models/mlp.onnx',
    });
    const runtime = await register('hanging.mar');
    const ask = (id: string, value: string, deadlineMs?: number) =>
      runtime.predict({ id, input: { kind: 'value', value }, deadlineMs });
    await ask('first', 'go on');
    await expect(ask('second', 'hang', 20)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(told).toEqual(['queued first', 'finished first', 'failed second DEADLINE_EXCEEDED']);
  });

  it('is told as failed and its run as wasted when its caller gave up while it ran', async () => {
    const told: string[] = [];
    class Recorder extends InferenceObserver {
      override requestFinished(_ref: ModelRef, id: string): void {
        told.push(`finished ${id}`);
      }
      override requestFailed(_ref: ModelRef, id: string, { code }: MarlineError): void {
        told.push(`failed ${id} ${code}`);
      }
      override runWasted(_ref: ModelRef, id: string): void {
        told.push(`wasted ${id}`);
      }
    }
    await open.close();
    open = await openRegistry({ observer: new Recorder() });
    await open.pack({ modelName: 'slow', handler: 'handlers/slow_handler.mjs' });
    const runtime = await register('slow.mar');
    const ask = (id: string, ms: number, deadlineMs?: number) =>
      runtime.predict({ id, input: { kind: 'value', value: ms }, deadlineMs });
    await expect(ask('left', 200, 20)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await ask('next', 1);
    expect(told).toEqual(['failed left DEADLINE_EXCEEDED', 'wasted left', 'finished next']);
  });
});

/** A PNG that claims a size and holds next to nothing. */
function hugePng(width: number, height: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    checksum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, checksum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.alloc(1024))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
