import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServedModel } from '#libs/inference';
import { fixture, openRegistry, type OpenRegistry } from '../support/open-registry.js';
import { preloadedPython, type PreloadedPython } from '../support/preloaded-python.js';
import { pythonVenv } from '../support/python-venv.js';
import { torchvision, type Torchvision } from '../support/torchvision.js';

const run = promisify(execFile);
const venv = await pythonVenv();
const { modules, missing }: Torchvision =
  venv.python === undefined ? { missing: venv.missing } : await torchvision(venv.python);
if (missing !== undefined) console.warn(`No handler for images of TorchServe is tried: ${missing}.`);

const SETUP_MS = 120_000;
const PICTURES = [fixture('images/coffee.jpg')];

let open: OpenRegistry;
let preloaded: PreloadedPython;
beforeAll(async () => {
  if (modules === undefined) return;
  // What an operator does who has such a folder; workers see the variable.
  process.env['PYTHONPATH'] = modules;
  preloaded = await preloadedPython(venv.python ?? '', ['torch', 'torchvision']);
  open = await openRegistry({ python: preloaded.python });
  await run(preloaded.python, ['-B', fixture('torch/make_vision.py'), open.store]);
}, SETUP_MS);
afterAll(async () => {
  delete process.env['PYTHONPATH'];
  await open?.close();
  await preloaded?.close();
});

/** What the handler answers in a process of its own. */
async function answersOf(handler: string, model: string): Promise<unknown> {
  const args = ['-B', fixture('torch/run_handler.py'), handler, model, ...PICTURES];
  const { stdout } = await run(preloaded.python, args, { maxBuffer: 2 ** 26 });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
}

describe.skipIf(modules === undefined)('a PyTorch archive that names a handler of TorchServe', () => {
  it.each([
    ['image_classifier', 'classifier'],
    ['image_segmenter', 'segmenter'],
    ['object_detector', 'detector'],
  ])('is answered as by the handler itself: %s', async (handler, model) => {
    const serializedFile = join(open.store, `${model}.pt`);
    await open.pack({ modelName: model, handler, serializedFile });
    const request = { url: `${model}.mar`, initialWorkers: 1, synchronous: true };
    const { settings } = await open.registry.register(request);
    expect(settings.runsPython).toBe(true);
    const served = new ServedModel(model, open.registry);
    const answers = await Promise.all(PICTURES.map((picture) => served.predict(readFileSync(picture))));
    expect(answers).toEqual(await answersOf(handler, serializedFile));
  });

  it('finds what there is to be found', async () => {
    const [picture = ''] = PICTURES;
    const bytes = readFileSync(picture);
    const labels = Object.values(
      (await new ServedModel('classifier', open.registry).predict(bytes)) as object,
    );
    expect(labels).toHaveLength(5);
    const boxes = (await new ServedModel('detector', open.registry).predict(bytes)) as unknown[];
    expect(boxes).toContainEqual(expect.objectContaining({ '3': expect.anything() as unknown }));
    const rows = (await new ServedModel('segmenter', open.registry).predict(bytes)) as unknown[];
    expect(rows).toHaveLength(224);
  });
});
