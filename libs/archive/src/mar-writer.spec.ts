import { chmod, mkdir, mkdtemp, open, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import yauzl from 'yauzl';
import { parseManifest } from './manifest.js';
import { packArchive, type ArchiveFormat, type PackOptions } from './mar-writer.js';
import { ModelStore } from './model-store.js';
import { ZipWriter } from './zip-writer.js';

let cwd: string;

beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'marline-pack-'));
  await mkdir(join(cwd, 'out'));
  await writeFile(join(cwd, 'handler.mjs'), 'export default class {}');
  await writeFile(join(cwd, 'handler.py'), 'pass');
});

afterEach(() => rm(cwd, { recursive: true }));

const pack = (options: Partial<PackOptions> = {}) =>
  packArchive({ modelName: 'm', version: '1.0', handler: 'handler.mjs', exportPath: 'out', cwd, ...options });

/** What our own reader finds in an archive of `out`. */
async function unpacked(name: string): Promise<Record<string, Buffer>> {
  const store = new ModelStore({ modelStore: join(cwd, 'out'), cacheDir: join(cwd, 'cache') });
  const archive = await store.open(name);
  const entries = await readdir(archive.dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const contents = await Promise.all(files.map((file) => readFile(file)));
  await archive.release();
  return Object.fromEntries(
    files.map((file, index) => [file.slice(archive.dir.length + 1), contents[index]!]),
  );
}

const manifestOf = async (name: string) =>
  parseManifest(String((await unpacked(name))['MAR-INF/MANIFEST.json']));

describe('packArchive', () => {
  it('makes an archive of runtime node for a JavaScript handler', async () => {
    expect(await pack()).toBe('out/m.mar');
    expect(await manifestOf('m.mar')).toMatchObject({ runtime: 'node', model: { handler: 'handler.mjs' } });
    expect(Object.keys(await unpacked('m.mar')).toSorted()).toEqual(['MAR-INF/MANIFEST.json', 'handler.mjs']);
  });

  it.each([
    ['handler.py', undefined, 'python'],
    ['image_classifier', undefined, 'python'],
    ['image_classifier', 'node', 'node'],
    ['my_handler', 'node', 'node'],
    ['handler.mjs', 'python3', 'python3'],
  ] as const)('packs the handler %s of runtime %s for %s', async (handler, runtime, expected) => {
    await pack({ handler, runtime });
    expect(await manifestOf('m.mar')).toMatchObject({ runtime: expected, model: { handler } });
  });

  it('refuses a Python file for node', async () => {
    await expect(pack({ handler: 'handler.py', runtime: 'node' })).rejects.toMatchObject({
      code: 'PACK_FAILED',
    });
  });

  it.each<[ArchiveFormat, string]>([
    ['default', 'm.mar'],
    ['zip-store', 'm.mar'],
    ['tgz', 'm.tar.gz'],
    ['no-archive', 'm'],
  ])('is read back from the format %s', async (archiveFormat, name) => {
    const long = `${'n'.repeat(120)}.bin`;
    const weights = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7919) % 251));
    await mkdir(join(cwd, 'extra/deep/er'), { recursive: true });
    await writeFile(join(cwd, 'weights.onnx'), weights);
    await writeFile(join(cwd, 'extra', long), 'long');
    await writeFile(join(cwd, 'extra/deep/er/ünï 文.txt'), 'names');
    await writeFile(join(cwd, 'extra/empty'), '');
    await pack({ archiveFormat, serializedFile: 'weights.onnx', extraFiles: ['extra'] });
    const files = await unpacked(name);
    expect(Object.keys(files).toSorted()).toEqual(
      [
        'MAR-INF/MANIFEST.json',
        'deep/er/ünï 文.txt',
        'empty',
        'handler.mjs',
        long,
        'weights.onnx',
      ].toSorted(),
    );
    expect(files['weights.onnx']?.equals(weights)).toBe(true);
    expect([String(files[long]), String(files['deep/er/ünï 文.txt']), files['empty']?.length]).toEqual([
      'long',
      'names',
      0,
    ]);
  });

  it('packs patterns and folders as the archiver does', async () => {
    for (const folder of ['x/__pycache__', 'x/.git', 'x/sub', 'x/MAR-INF'])
      await mkdir(join(cwd, folder), { recursive: true });
    for (const file of [
      'a.txt',
      'b.txt',
      'x/c',
      'x/.env',
      'x/__pycache__/p',
      'x/.git/g',
      'x/sub/d',
      'x/MAR-INF/MANIFEST.json',
    ]) {
      await writeFile(join(cwd, file), 'content');
    }
    await symlink('../a.txt', join(cwd, 'x/link'));
    const warnings: string[] = [];
    await pack({ extraFiles: ['*.txt', 'x', 'none*', ''], warn: (text) => warnings.push(text) });
    expect(Object.keys(await unpacked('m.mar')).toSorted()).toEqual(
      ['.env', 'MAR-INF/MANIFEST.json', 'a.txt', 'b.txt', 'c', 'handler.mjs', 'link', 'sub/d'].toSorted(),
    );
    expect(await manifestOf('m.mar')).toMatchObject({ model: { modelName: 'm' } });
    expect(warnings).toEqual(['Given wildcard pattern did not match any file: none*']);
  });

  it('leaves nothing when a file is missing, and the old archive when it was to be overwritten', async () => {
    await expect(pack({ extraFiles: ['none'] })).rejects.toMatchObject({
      code: 'PACK_FILE_NOT_FOUND',
      message: 'File does not exist: none',
    });
    expect(await readdir(join(cwd, 'out'))).toEqual([]);
    await pack();
    const before = await readFile(join(cwd, 'out/m.mar'));
    await expect(pack({ force: true, configFile: 'none.yaml' })).rejects.toMatchObject({
      code: 'PACK_FILE_NOT_FOUND',
    });
    expect(await readdir(join(cwd, 'out'))).toEqual(['m.mar']);
    expect((await readFile(join(cwd, 'out/m.mar'))).equals(before)).toBe(true);
  });

  it('says that a folder is no handler', async () => {
    await mkdir(join(cwd, 'folder.py'));
    await expect(pack({ handler: 'folder.py' })).rejects.toMatchObject({
      message: "[Errno 21] Is a directory: 'folder.py'",
    });
  });

  it('keeps the modes of the files', async () => {
    await chmod(join(cwd, 'handler.mjs'), 0o755);
    await pack();
    const zip = await yauzl.openPromise(join(cwd, 'out/m.mar'), { lazyEntries: true });
    const modes: number[] = [];
    for await (const entry of zip.eachEntry()) modes.push(entry.externalFileAttributes >>> 16);
    expect(modes).toEqual([0o100755, 0o100644]);
  });
});

describe('ZipWriter', () => {
  it('writes 64-bit sizes for a file that may need them', async () => {
    const path = join(cwd, 'large.zip');
    const file = await open(path, 'wx');
    const zip = new ZipWriter(file, false);
    const bytes = async function* () {
      yield Buffer.from('not large at all');
    };
    await zip.add('large', bytes(), {
      sizeHint: 5 * 2 ** 30,
      mode: 0o100644,
      modified: new Date(1970, 0, 1),
    });
    await zip.add('small', bytes(), { sizeHint: 16, mode: 0o100644, modified: new Date(2026, 0, 1) });
    await zip.end();
    await file.close();
    const read = await yauzl.openPromise(path, { lazyEntries: true, autoClose: false });
    const found: [string, number, string][] = [];
    for await (const entry of read.eachEntry()) {
      const content = await buffer(await read.openReadStreamPromise(entry));
      found.push([entry.fileName, entry.getLastModDate().getFullYear(), String(content)]);
    }
    read.close();
    expect(found).toEqual([
      ['large', 1980, 'not large at all'],
      ['small', 2026, 'not large at all'],
    ]);
    expect((await readFile(path)).readUInt32LE(22)).toBe(0xffffffff);
  });
});
