import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packArchive } from '#libs/archive';
import { convertMnist, makeMnistArchives } from '../../support/mnist-archives.js';
import { fixture } from '../../support/open-registry.js';
import { pythonVenv } from '../../support/python-venv.js';
import { readFloats, type PeerRequest } from '../peers/peer.js';

/** An archive that servers get alike, and the one request for it. */
export interface PythonArchive {
  readonly name: 'echo' | 'mnist' | 'mnist-batched' | 'mnist-pixels' | `${'mnist' | 'mnist-pixels'}-onnx`;
  readonly title: string;
  readonly modelStore: string;
  readonly file: string;
  readonly request: PeerRequest;
  /** What `request.read` has to find in an answer. */
  readonly expected: readonly number[];
}

/** Workers and batches of both servers are the archive's. */
const SINGLE = { minWorkers: 2, maxWorkers: 2, batchSize: 1 };
const BATCHED = { minWorkers: 2, maxWorkers: 2, batchSize: 4, maxBatchDelay: 5 };
const [EAGER, ONNX] = ['mnist_eager', 'mnist_onnx'];
const PIXELS_HANDLER = fileURLToPath(new URL('mnist_pixels_handler.py', import.meta.url));
const DIGIT = 7;
const BLACK = -0.4242;

/**
 * Packs a Python handler that answers what it received, MNIST in PyTorch (eager) with batches and without, and MNIST converted to
 * ONNX. @returns lists of archives that are measured in the same rounds
 * @throws Error when there is no Python to make them with
 */
export async function makePythonArchives(folder: string): Promise<PythonArchive[][]> {
  const { python, missing } = await pythonVenv();
  if (python === undefined) throw new Error(`Python archives cannot be measured: ${missing}.`);
  const pack = async (name: PythonArchive['name'], title: string, config: object, handler?: string) => {
    const modelStore = join(folder, name);
    const configFile = await writeConfig(modelStore, config);
    const options = handler === undefined ? { configFile } : { configFile, handler };
    const { eager } = await makeMnistArchives(python, modelStore, options);
    return { name, title, modelStore, file: basename(eager) };
  };
  const convert = async ({ modelStore, file }: { modelStore: string; file: string }, handler?: string) => ({
    modelStore,
    file: basename(await convertMnist(python, join(modelStore, file), modelStore, handler)),
  });
  const png = await pack('mnist', 'MNIST, PyTorch', SINGLE);
  const pixels = await pack('mnist-pixels', 'MNIST from raw pixels, PyTorch', SINGLE, PIXELS_HANDLER);
  const batched = await pack('mnist-batched', 'MNIST, PyTorch, batches of 4', BATCHED);
  return [
    [await echo(join(folder, 'echo'))],
    [
      { ...png, ...readsPng(EAGER) },
      { name: 'mnist-onnx', title: 'MNIST, converted to ONNX', ...(await convert(png)), ...readsPng(ONNX) },
      { ...pixels, ...readsPixels(EAGER) },
      {
        name: 'mnist-pixels-onnx',
        title: 'MNIST from raw pixels, converted to ONNX',
        ...(await convert(pixels, 'tensor')),
        ...readsPixels(ONNX),
      },
    ],
    [{ ...batched, ...readsPng(EAGER) }],
  ];
}

async function echo(modelStore: string): Promise<PythonArchive> {
  const path = await packArchive({
    modelName: 'echo',
    version: '1.0',
    handler: fixture('archives/src/echo/echo_handler.py'),
    configFile: await writeConfig(modelStore, SINGLE),
    exportPath: modelStore,
  });
  return {
    name: 'echo',
    title: 'Echo',
    modelStore,
    file: basename(path),
    request: {
      path: '/predictions/echo',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from('[1, 2, 3]'),
      says: 'JSON',
      read: (answer) =>
        (JSON.parse(answer.toString()) as { fields: { body: { value: number[] } } }).fields.body.value,
    },
    expected: [1, 2, 3],
  };
}

function readsPng(model: string): Pick<PythonArchive, 'request' | 'expected'> {
  return {
    request: {
      path: `/predictions/${model}`,
      headers: { 'content-type': 'application/octet-stream' },
      body: readFileSync(fixture(`images/digit_${DIGIT}.png`)),
      says: 'a PNG file',
      read: (answer) => [(JSON.parse(answer.toString()) as { digit: number }).digit],
    },
    expected: [DIGIT],
  };
}

/** A black picture, as the handlers that read files normalise it: the network takes it for a 1. */
function readsPixels(model: string): Pick<PythonArchive, 'request' | 'expected'> {
  return {
    request: {
      path: `/predictions/${model}`,
      headers: { 'content-type': 'application/octet-stream', accept: 'application/octet-stream' },
      body: Buffer.from(new Float32Array(28 * 28).fill(BLACK).buffer),
      says: 'raw float32 both ways',
      read: (answer) => {
        const logProbabilities = readFloats(answer);
        return [logProbabilities.indexOf(Math.max(...logProbabilities))];
      },
    },
    expected: [1],
  };
}

/** JSON is YAML. */
async function writeConfig(folder: string, config: object): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, 'model-config.yaml');
  writeFileSync(file, JSON.stringify(config));
  return file;
}
