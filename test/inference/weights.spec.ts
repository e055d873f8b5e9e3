import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Tensors } from '#libs/common';
import { OnnxSession } from '../../libs/inference/src/onnx-session.js';
import { sampleInputs } from '../../libs/inference/src/sample-inputs.js';
import { prepareModel, type PreparedModel } from '../../libs/inference/src/shared-weights.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/models/${name}.onnx`, import.meta.url));

let root: string;
let cacheDir: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'marline-weights-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  cacheDir = await mkdtemp(join(root, 'cache-'));
});

const prepare = (path: string, thresholdBytes = 0) =>
  prepareModel(path, { cacheDir, thresholdBytes, intraOpThreads: 1 });
const entries = () => readdir(join(cacheDir, 'weights', 'entries')).catch(() => []);

async function answer({ path, shared }: Pick<PreparedModel, 'path' | 'shared'>): Promise<Tensors> {
  const plan = { path, shared, executionProvider: 'cpu', deviceId: null, intraOpThreads: 1 } as const;
  const session = OnnxSession.open(plan, (call) => call());
  try {
    return session.run(sampleInputs(session.inputs)[0] ?? {});
  } finally {
    session.release();
  }
}

describe('prepareModel', () => {
  it('uses a small model as it is and caches nothing', async () => {
    const path = fixture('mlp');
    const model = await prepare(path, 8 * 1024 * 1024);
    expect(model).toMatchObject({ path, originalPath: path, shared: false });
    expect(model.inputs).toEqual([{ name: 'input', dtype: 'float32', shape: ['batch', 128] }]);
    expect(await entries()).toEqual([]);
  });

  it('makes a large model’s weights a file of their own, which gives the same answers', async () => {
    const path = fixture('mnist_cnn');
    const model = await prepare(path);
    expect(model).toMatchObject({ shared: true, originalPath: path });
    expect(model.inputs).toEqual([{ name: 'input', dtype: 'float32', shape: ['batch', 1, 28, 28] }]);
    expect((await readFile(model.path)).length).toBeLessThan(20_000);
    expect((await readdir(dirname(model.path))).toSorted()).toEqual([
      'model.onnx',
      'model.weights',
      'report.json',
    ]);

    const [shared, original] = [await answer(model), await answer({ path, shared: false })];
    const values = [...(shared['log_probs']?.data ?? [])].map(Number);
    [...(original['log_probs']?.data ?? [])].forEach((value, index) =>
      expect(values[index]).toBeCloseTo(Number(value), 4),
    );
    await model.release();
  });

  it('makes it once for all who hold it and removes it after the last', async () => {
    const [first, second] = await Promise.all([prepare(fixture('mnist_cnn')), prepare(fixture('mnist_cnn'))]);
    expect(second.path).toBe(first.path);
    expect(await entries()).toHaveLength(1);
    await first.release();
    await first.release();
    await readFile(second.path);
    await second.release();
    expect(await entries()).toEqual([]);
  });

  it('keeps a model whose optimised form has other inputs as it is', async () => {
    const path = fixture('light_resnet50');
    const model = await prepare(path);
    expect(model).toMatchObject({ path, shared: false });
    expect(model.inputs).toHaveLength(1);
    expect(await entries()).toEqual([]);
  });

  it('keeps a model that takes none of the samples as it is, for nothing can be compared', async () => {
    expect((await prepare(fixture('failing_reshape'))).shared).toBe(false);
  });

  it('knows models with external data apart by that data', async () => {
    const models: PreparedModel[] = [];
    for (const weight of [1, 2]) {
      const folder = join(cacheDir, `model-${weight}`);
      await mkdir(folder);
      await writeFile(join(folder, 'model.onnx'), await readFile(fixture('external_weights')));
      await writeFile(join(folder, 'weights.bin'), new Float32Array(4).fill(weight));
      models.push(await prepare(join(folder, 'model.onnx')));
    }
    expect(models.map(({ shared }) => shared)).toEqual([true, true]);
    const [one, two] = await Promise.all(
      models.map(async (model) => Number((await answer(model))['y']?.data[0])),
    );
    expect(Number(two) - Number(one)).toBeCloseTo(1);
    await Promise.all(models.map((model) => model.release()));
  });

  it('rejects a bad model and leaves nothing behind', async () => {
    await expect(prepare(fixture('sequence_output'))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    expect(await entries()).toEqual([]);
    expect(await readdir(join(cacheDir, 'weights', 'staging'))).toEqual([]);
  });
});
