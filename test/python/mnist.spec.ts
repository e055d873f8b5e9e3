import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convertMnist, makeMnistArchives } from '../support/mnist-archives.js';
import { fixture } from '../support/open-registry.js';
import { pythonVenv } from '../support/python-venv.js';
import { serveApp, type ServedApp } from '../support/serve-app.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`MNIST is not served three ways: ${missing}.`);

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const PYTHON = ['mnist_eager', 'mnist_script'];
const CONVERTED = 'mnist_onnx';
const SETUP_MS = 240_000;

let served: ServedApp;

beforeAll(async () => {
  if (python === undefined) return;
  served = await serveApp({ options: { python } });
  const { store } = served.models;
  const { eager, torchScript } = await makeMnistArchives(python, store);
  for (const archive of [eager, torchScript, await convertMnist(python, eager, store)])
    await served.registry.register({
      url: basename(archive),
      initialWorkers: 1,
      batchSize: 4,
      maxBatchDelay: 50,
      synchronous: true,
    });
}, SETUP_MS);
afterAll(() => served?.close());

async function ask(model: string, picture: string) {
  const response = await fetch(`${served.url}/predictions/${model}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: readFileSync(fixture(`images/${picture}.png`)),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as { digit: number; probability: number };
}

/** All at once, so that they share runs. */
const read = (model: string, pictures: readonly string[]) =>
  Promise.all(pictures.map((picture) => ask(model, picture)));

describe.skipIf(python === undefined)('MNIST of one server', () => {
  it('runs the PyTorch archives in processes of Python, and the converted one in its own', () => {
    const pids = (model: string) =>
      served.registry
        .get(model)
        .workers()
        .map(({ pid }) => pid);
    expect(pids(CONVERTED)).toEqual([process.pid]);
    for (const model of PYTHON) expect(pids(model)).not.toContain(process.pid);
  });

  it.each(PYTHON)('reads the digits as %s as the converted archive does', async (model) => {
    const pictures = DIGITS.map((digit) => `digit_${digit}`);
    const answers = await read(model, pictures);
    expect(answers.map(({ digit }) => digit)).toEqual(DIGITS);
    const converted = await read(CONVERTED, pictures);
    expect(converted.map(({ digit }) => digit)).toEqual(DIGITS);
    for (const [at, { probability }] of answers.entries())
      expect(probability).toBeCloseTo(converted[at]?.probability ?? -1, 4);
  });

  it('misreads one picture three times alike', async () => {
    const answers = await Promise.all([...PYTHON, CONVERTED].map((model) => ask(model, 'digit_3_misread')));
    expect(answers.map(({ digit }) => digit)).toEqual([5, 5, 5]);
    const [eager] = answers;
    for (const { probability } of answers) expect(probability).toBeCloseTo(eager?.probability ?? -1, 5);
  });
});
