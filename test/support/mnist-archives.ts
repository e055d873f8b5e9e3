import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packArchive, type PackOptions } from '#libs/archive';
import { convertArchive } from '../../src/convert/convert-archive.js';
import { parseModelInput } from '../../src/convert/model-input.js';
import { fixture } from './open-registry.js';

/** Paths of two archives with the same trained MNIST network and the same Python handler. */
export interface MnistArchives {
  /** A class and its state dict. */
  readonly eager: string;
  readonly torchScript: string;
}

/**
 * Makes `mnist_eager.mar` and `mnist_script.mar` in a folder, from the weights of the ONNX fixture. Together they have 9 MB, so they are
 * no fixtures themselves.
 * @param python an interpreter with torch and onnx, such as that of `pythonVenv()`
 * @param options another handler than `mnist_handler.py`, a model-config.yaml
 */
export async function makeMnistArchives(
  python: string,
  folder: string,
  options: Partial<Pick<PackOptions, 'handler' | 'configFile'>> = {},
): Promise<MnistArchives> {
  const weights = join(folder, 'weights');
  await mkdir(weights, { recursive: true });
  await promisify(execFile)(python, ['-B', fixture('torch/make_mnist.py'), weights]);
  const pack = (model: Pick<PackOptions, 'modelName' | 'serializedFile' | 'modelFile'>): Promise<string> =>
    packArchive({
      handler: fixture('torch/mnist_handler.py'),
      ...options,
      ...model,
      version: '1.0',
      exportPath: folder,
      force: true,
    });
  return {
    eager: await pack({
      modelName: 'mnist_eager',
      modelFile: fixture('torch/mnist_net.py'),
      serializedFile: join(weights, 'mnist_state.pt'),
    }),
    torchScript: await pack({
      modelName: 'mnist_script',
      serializedFile: join(weights, 'mnist_script.pt'),
    }),
  };
}

const CONVERT_LIMIT_MS = 240_000;

/**
 * Converts one of {@link MnistArchives} into `mnist_onnx.mar` in a folder, as `marline convert` does.
 * @param python an interpreter with torch, onnx and onnxscript
 * @param handler what takes the place of the archive's
 * @returns the new archive's path
 */
export async function convertMnist(
  python: string,
  archive: string,
  folder: string,
  handler = fixture('handlers/mnist_handler.mjs'),
): Promise<string> {
  const { path } = await convertArchive({
    archive,
    python,
    inputs: [parseModelInput('1x1x28x28')],
    handler,
    modelName: 'mnist_onnx',
    exportPath: folder,
    tolerance: 1e-4,
    timeoutMs: CONVERT_LIMIT_MS,
    force: false,
    signal: new AbortController().signal,
    announce: () => {},
  });
  return path;
}
