import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { packArchive } from '#libs/archive';
import { convertMnist, makeMnistArchives } from '../../support/mnist-archives.js';
import { fixture } from '../../support/open-registry.js';
import { pythonVenv } from '../../support/python-venv.js';
import type { PeerRequest } from '../peers/peer.js';

/** An archive that servers get alike, and the one request for it. */
export interface PythonArchive {
  readonly name: 'echo' | 'mnist' | 'mnist-batched' | 'mnist-onnx';
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
const DIGIT = 7;

/**
 * Packs a Python handler that answers what it received, MNIST in PyTorch (eager) with batches and without, and MNIST converted to
 * ONNX. @returns lists of archives that are measured in the same rounds
 * @throws Error when there is no Python to make them with
 */
export async function makePythonArchives(folder: string): Promise<PythonArchive[][]> {
  const { python, missing } = await pythonVenv();
  if (python === undefined) throw new Error(`Python archives cannot be measured: ${missing}.`);
  const mnist = async (name: PythonArchive['name'], title: string, config: object) => {
    const modelStore = join(folder, name);
    const { eager } = await makeMnistArchives(python, modelStore, await writeConfig(modelStore, config));
    return { name, title, modelStore, file: basename(eager), ...readsDigit('mnist_eager') };
  };
  const single = await mnist('mnist', 'MNIST, PyTorch', SINGLE);
  const converted = await convertMnist(python, join(single.modelStore, single.file), single.modelStore);
  const onnx: PythonArchive = {
    ...single,
    ...readsDigit('mnist_onnx'),
    name: 'mnist-onnx',
    title: 'MNIST, converted to ONNX',
    file: basename(converted),
  };
  return [
    [await echo(join(folder, 'echo'))],
    [single, onnx],
    [await mnist('mnist-batched', 'MNIST, PyTorch, batches of 4', BATCHED)],
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

function readsDigit(model: string): Pick<PythonArchive, 'request' | 'expected'> {
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

/** JSON is YAML. */
async function writeConfig(folder: string, config: object): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, 'model-config.yaml');
  writeFileSync(file, JSON.stringify(config));
  return file;
}
