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
if (missing !== undefined) console.warn(`Nothing is compared with TorchServe's handlers: ${missing}.`);

const SETUP_MS = 600_000;
const TEST_MS = 240_000;
const PHOTOS = [fixture('images/coffee.jpg'), fixture('images/chelsea.jpg')];

type Box = readonly [number, number, number, number];
type Found = Readonly<Record<string, Box | number>>;
type Pixels = readonly (readonly (readonly [number, number])[])[];

// On a machine that others use, two threads of PyTorch spend their time waiting for each other.
const env = { ...process.env, PYTHONPATH: modules, OMP_NUM_THREADS: '1' };
let open: OpenRegistry;
let preloaded: PreloadedPython;
/** One network of torchvision each, exported to ONNX for our handlers, and as PyTorch has it for TorchServe's. */
beforeAll(async () => {
  if (modules === undefined) return;
  open = await openRegistry();
  preloaded = await preloadedPython(venv.python ?? '', ['torch', 'torchvision'], env);
  await python('make_torchvision.py', open.store, ...PHOTOS);
  for (const [modelName, handler] of [
    ['detector', 'object_detector'],
    ['segmenter', 'image_segmenter'],
  ] as const) {
    await open.pack({ modelName, handler, serializedFile: join(open.store, `${modelName}.onnx`) });
    const url = `${modelName}.mar`;
    const { settings } = await open.registry.register({ url, initialWorkers: 1, synchronous: true });
    expect(settings.runsPython).toBe(false);
  }
}, SETUP_MS);
afterAll(async () => {
  await open?.close();
  await preloaded?.close();
});

async function python(script: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(preloaded.python, ['-B', fixture(`torch/${script}`), ...args], {
    maxBuffer: 2 ** 27,
    env,
  });
  return stdout.trim().split('\n').at(-1) ?? '';
}

/** What TorchServe's handler answers to a picture in a process of its own. */
async function theirs<T>(handler: string, weights: string, picture: string): Promise<T> {
  const [answer] = JSON.parse(await python('run_handler.py', handler, weights, picture)) as T[];
  return answer as T;
}

const ours = <T>(model: string, picture: string): Promise<T> =>
  new ServedModel<Uint8Array, T>(model, open.registry).predict(readFileSync(picture));
const lossless = (photo: string) => join(open.store, photo.replace(/.*\/(\w+)\.jpg/, '$1.png'));

const labelOf = (found: Found) => Object.keys(found).find((key) => key !== 'score') ?? '';
const boxOf = (found: Found) => found[labelOf(found)] as Box;
const scoreOf = (found: Found) => Number(found['score']);

describe.skipIf(modules === undefined)('a detector of torchvision as ONNX', { timeout: TEST_MS }, () => {
  const detected = (picture: string) =>
    theirs<Found[]>('object_detector', `torchvision_detector.py:${join(open.store, 'detector.pt')}`, picture);

  /**
   * Both find the same, but for what scores so close to the threshold that it may come or go.
   * @param score how far scores may be apart
   * @returns how many were found, and how many of them lie within a tenth of a pixel
   */
  async function compare(picture: string, score: number): Promise<{ sure: number; close: number }> {
    const [mine, reference] = await Promise.all([ours<Found[]>('detector', picture), detected(picture)]);
    const isSure = (found: Found) => scoreOf(found) > 0.5 + score;
    const hasTwin = (found: Found, others: readonly Found[], pixels: number) =>
      others.some(
        (other) =>
          labelOf(other) === labelOf(found) &&
          Math.abs(scoreOf(other) - scoreOf(found)) < score &&
          boxOf(other).every((edge, axis) => Math.abs(edge - (boxOf(found)[axis] ?? NaN)) < pixels),
      );
    const sure = reference.filter(isSure);
    // Of boxes that overlap and score alike to the last digits, the one or the other is kept.
    expect(sure.filter((found) => !hasTwin(found, mine, 4))).toEqual([]);
    expect(mine.filter((found) => isSure(found) && !hasTwin(found, reference, 4))).toEqual([]);
    expect(mine.map(scoreOf)).toEqual(mine.map(scoreOf).toSorted((one, other) => other - one));
    return { sure: sure.length, close: sure.filter((found) => hasTwin(found, mine, 0.1)).length };
  }

  // The same pixels go in: what is left is the arithmetic of two runtimes, which random weights make larger.
  it('finds in a picture what it finds in TorchServe', async () => {
    const [picture = ''] = PHOTOS.map(lossless);
    const { sure, close } = await compare(picture, 2e-3);
    expect(sure).toBeGreaterThan(9);
    expect(close / sure).toBeGreaterThan(0.9);
  });

  // Two decoders of JPEG may round a pixel otherwise.
  it.each(PHOTOS)('finds it in the photo of a camera, too: %s', async (photo) => {
    expect((await compare(photo, 0.05)).sure).toBeGreaterThan(0);
  });

  it('takes pictures of other sizes at the same time, and each fails alone', async () => {
    const model = new ServedModel<Uint8Array, Found[]>('detector', open.registry);
    const answers = await Promise.allSettled([
      ...PHOTOS.map((photo) => ours<Found[]>('detector', photo)),
      model.predict(Buffer.from('no picture')),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(answers[2]).toMatchObject({ reason: { code: 'INVALID_INPUT' } });
  });
});

describe.skipIf(modules === undefined)('a segmenter of torchvision as ONNX', { timeout: TEST_MS }, () => {
  const segmented = (picture: string) =>
    theirs<Pixels>('image_segmenter', join(open.store, 'segmenter.pt'), picture);

  async function compare(picture: string) {
    const [mine, reference] = await Promise.all([ours<Pixels>('segmenter', picture), segmented(picture)]);
    expect([mine.length, mine[0]?.length, mine[0]?.[0]?.length]).toEqual([224, 224, 2]);
    const theirPixels = reference.flat();
    const pairs = mine.flat().map((pixel, index) => [pixel, theirPixels[index] ?? [NaN, NaN]] as const);
    return {
      classes: new Set(theirPixels.map(([index]) => index)).size,
      sameClass: pairs.filter(([[a], [b]]) => a === b).length / pairs.length,
      furthest: pairs.reduce((most, [[, a], [, b]]) => Math.max(most, Math.abs(a - b)), 0),
      apart: pairs.reduce((sum, [[, a], [, b]]) => sum + Math.abs(a - b), 0) / pairs.length,
    };
  }

  it.each(PHOTOS)('gives every pixel what it gets in TorchServe: %s', async (photo) => {
    const { classes, sameClass, furthest } = await compare(lossless(photo));
    expect(classes).toBeGreaterThan(2);
    // The same pixels go in: what is left are ties of two classes, and the arithmetic of two runtimes.
    expect(sameClass).toBeGreaterThan(0.999);
    expect(furthest).toBeLessThan(1e-3);
  });

  // Scaled by libvips here and by Pillow there, after two decoders of JPEG: pixels at the edge of two classes may change sides.
  it.each(PHOTOS)('gives nearly the same for a photo that has to be scaled: %s', async (photo) => {
    const { sameClass, apart } = await compare(photo);
    expect(sameClass).toBeGreaterThan(0.99);
    expect(apart).toBeLessThan(0.01);
  });
});
