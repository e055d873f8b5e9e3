import { link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ModelProbe } from '../../libs/inference/src/model-probe.js';
import { inspectOnnxFile } from '../../libs/inference/src/onnx-file.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/models/${name}.onnx`, import.meta.url));
const invalid = (text: RegExp) =>
  expect.objectContaining({ code: 'MODEL_INVALID', message: expect.stringMatching(text) });

let root: string;
let folder: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'marline-probe-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(root, 'model-'));
});

async function write(bytes: Uint8Array, name = 'model.onnx'): Promise<string> {
  await writeFile(join(folder, name), bytes);
  return join(folder, name);
}

/** A model that adds four weights which lie elsewhere, written with whatever this says about them. */
function withExternal(key: 'location' | 'offset' | 'length', value: string): Promise<string> {
  const entries = Object.entries({ location: 'weights.bin', offset: '0', length: '16', [key]: value });
  const externalData = entries.map(([name, text]) => field(13, field(1, name), field(2, text)));
  const weights = [
    number(1, 4),
    number(2, FLOAT),
    field(8, 'weights'),
    ...externalData,
    number(14, EXTERNAL),
  ];
  const add = [field(1, 'x'), field(1, 'weights'), field(2, 'y'), field(4, 'Add')];
  const graph = [
    field(1, ...add),
    field(2, 'g'),
    field(5, ...weights),
    field(11, ...floats('x')),
    field(12, ...floats('y')),
  ];
  return write(Buffer.concat([number(1, 8), field(7, ...graph), field(8, number(2, 17))]));
}

const FLOAT = 1;
const EXTERNAL = 1;
const floats = (name: string) => [
  field(1, name),
  field(2, field(1, number(1, FLOAT), field(2, field(1, number(1, 4))))),
];

/** A protobuf field of bytes: a text, or a message made of fields. */
function field(tag: number, ...parts: (string | Buffer)[]): Buffer {
  const bytes = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(tag * 8 + 2), varint(bytes.length), bytes]);
}

function number(tag: number, value: number): Buffer {
  return Buffer.concat([varint(tag * 8), varint(value)]);
}

function varint(value: number): Buffer {
  return value < 0x80
    ? Buffer.from([value])
    : Buffer.concat([Buffer.from([(value & 0x7f) | 0x80]), varint(value >> 7)]);
}

async function probe(path: string, timeoutMs?: number) {
  const child = new ModelProbe(timeoutMs);
  try {
    const file = await child.inspect(path);
    const report = await child.load(path, 1);
    await child.end();
    return { ...file, ...report };
  } finally {
    child.kill();
  }
}

describe('ModelProbe', () => {
  it('tells inputs, outputs and size of a good model', async () => {
    expect(await probe(fixture('mnist_cnn'))).toEqual({
      bytes: 4_800_911,
      externalFiles: [],
      inputs: [{ name: 'input', dtype: 'float32', shape: ['batch', 1, 28, 28] }],
      outputs: [{ name: 'log_probs', dtype: 'float32', shape: ['batch', 10] }],
    });
  });

  it('accepts a model that refuses made-up inputs', async () => {
    expect((await probe(fixture('failing_reshape'))).inputs).toHaveLength(1);
  });

  it.each<[string, () => Promise<string>, RegExp]>([
    ['is empty', () => write(new Uint8Array()), /holds no graph/],
    ['is text', () => write(Buffer.from('This is not a model. '.repeat(50))), /no ONNX model or is damaged/],
    [
      'is cut off',
      async () => write((await readFile(fixture('mlp'))).subarray(0, 5000)),
      /leads beyond its end/,
    ],
    [
      'says garbage inside',
      async () => write(garbled(await readFile(fixture('mlp')))),
      /cannot be used|refuses the model/,
    ],
    ['has a sequence as output', async () => fixture('sequence_output'), /"pieces" is a sequence or a map/],
  ])('refuses a file that %s', async (_, make, text) => {
    await expect(probe(await make())).rejects.toEqual(invalid(text));
  });

  it('ends a model that never returns from its run and refuses it', async () => {
    await expect(probe(fixture('endless_loop'), 1000)).rejects.toEqual(
      invalid(/did not load and run once within 1000 ms/),
    );
  });

  it('refuses a model that crashes the process', async () => {
    const children = async () =>
      (await readFile(`/proc/self/task/${process.pid}/children`, 'utf8')).trim().split(' ').filter(Boolean);
    const before = new Set(await children());
    const refused = expect(probe(fixture('endless_loop'))).rejects.toEqual(
      invalid(/ended the process that tries it \(signal SIGSEGV\)/),
    );
    const child = (await children()).find((pid) => !before.has(pid));
    process.kill(Number(child), 'SIGSEGV');
    await refused;
  });

  it('names the file but not its folder', async () => {
    const path = await write(Buffer.from('nothing'));
    await expect(probe(path)).rejects.toSatisfy(
      (error: Error) => !error.message.includes(folder) && error.message.includes('model.onnx'),
    );
  });

  it('survives any single damaged byte of a model', async () => {
    const good = await readFile(fixture('external_weights'));
    await writeFile(join(folder, 'weights.bin'), Buffer.alloc(16));
    for (let index = 0; index < good.length; index++) {
      const bad = Buffer.from(good);
      bad[index] = (bad[index] ?? 0) ^ 0xff;
      const path = await write(bad, 'bad.onnx');
      try {
        inspectOnnxFile(path);
      } catch (error) {
        expect(error).toEqual(invalid(/./));
      }
    }
  });
});

describe('the check of external data', () => {
  const weights = new Float32Array([1, 2, 3, 4]);

  it('accepts a regular file inside the folder and counts its bytes', async () => {
    await writeFile(join(folder, 'weights.bin'), weights);
    const report = await probe(await write(await readFile(fixture('external_weights'))));
    expect(report).toMatchObject({ externalFiles: ['weights.bin'], bytes: 169 + 16 });
  });

  it('accepts a file in a sub-folder', async () => {
    await mkdir(join(folder, 'data'));
    await writeFile(join(folder, 'data', 'w'), weights);
    expect(inspectOnnxFile(await withExternal('location', 'data/w')).externalFiles).toEqual(['data/w']);
  });

  it.each([
    ['.env', /no such file beside the model/],
    ['../secret', /may not leave the folder/],
    ['data/../../secret', /may not leave the folder/],
    ['/etc/passwd', /must be relative/],
    ['..\\secret', /must be relative/],
    ['C:secret', /must be relative/],
    ['*/_ORT_MEM_ADDR_/*', /must be relative/],
    ['', /must be relative/],
    ['.', /no regular file/],
  ])('refuses the location %j', async (location, text) => {
    await writeFile(join(root, 'secret'), weights);
    const path = await withExternal('location', location);
    expect(() => inspectOnnxFile(path)).toThrow(invalid(text));
  });

  it('does not find the files of the working directory', async () => {
    const before = process.cwd();
    await mkdir(join(root, 'cwd'));
    await writeFile(join(root, 'cwd', '.env'), weights);
    process.chdir(join(root, 'cwd'));
    try {
      await expect(probe(await withExternal('location', '.env'))).rejects.toEqual(
        invalid(/no such file beside the model/),
      );
    } finally {
      process.chdir(before);
    }
  });

  it('refuses links, also in the middle of the path', async () => {
    await mkdir(join(root, 'other'), { recursive: true });
    await writeFile(join(root, 'other', 'secret'), weights);
    await symlink(join(root, 'other', 'secret'), join(folder, 'link'));
    await symlink(join(root, 'other'), join(folder, 'dir'));
    await expect(probe(await withExternal('location', 'link'))).rejects.toEqual(invalid(/no regular file/));
    await expect(probe(await withExternal('location', 'dir/secret'))).rejects.toEqual(
      invalid(/no regular file/),
    );
    await link(join(root, 'other', 'secret'), join(folder, 'own'));
    expect(inspectOnnxFile(await withExternal('location', 'own')).externalFiles).toEqual(['own']);
  });

  it.each<['offset' | 'length', string]>([
    ['length', '17'],
    ['offset', '1'],
    ['offset', '-4'],
    ['length', '1e3'],
    ['offset', '18446744073709551616'],
  ])('refuses the %s %s, which is not in the file', async (key, value) => {
    await writeFile(join(folder, 'weights.bin'), weights);
    const path = await withExternal(key, value);
    expect(() => inspectOnnxFile(path)).toThrow(invalid(/is not in it/));
  });
});

/** The same length, but with every seventh byte near the start another one. */
function garbled(bytes: Buffer): Buffer {
  return Buffer.from(
    bytes.map((byte, index) => (index > 100 && index < 400 && index % 7 === 0 ? byte ^ 0x5a : byte)),
  );
}
