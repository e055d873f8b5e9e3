import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Test } from '@nestjs/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArchiveModule } from './archive.module.js';
import { ModelStore } from './model-store.js';

let root: string;
let store: ModelStore;

async function put(name: string, content = ''): Promise<void> {
  await mkdir(dirname(join(root, 'store', name)), { recursive: true });
  await writeFile(join(root, 'store', name), content);
}

async function filesAt(url: string): Promise<string[]> {
  const archive = await store.open(url);
  const files = await readdir(archive.dir);
  await archive.release();
  return files.toSorted();
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'marline-store-'));
  await mkdir(join(root, 'store'));
  store = new ModelStore({ modelStore: join(root, 'store'), cacheDir: join(root, 'cache') });
});

afterEach(() => rm(root, { recursive: true }));

describe('ModelStore', () => {
  it('lists archives and folders, neither hidden nor other files', async () => {
    for (const name of [
      'b.mar',
      'a.tar.gz',
      'c.model',
      'd/x',
      '.hidden.mar',
      '.git/x',
      'e.txt',
      'f.tgz',
      'g.war',
    ])
      await put(name);
    expect(await store.list()).toEqual(['a.tar.gz', 'b.mar', 'c.model', 'd']);
  });

  it('lists nothing when the store is not there', async () => {
    expect(await new ModelStore({ modelStore: join(root, 'none'), cacheDir: root }).list()).toEqual([]);
  });

  it("enters the only folder of a folder, which is SageMaker's layout", async () => {
    await put('m/1/handler.py');
    await put('m/1/MAR-INF/MANIFEST.json', '{"model":{"modelName":"m"}}');
    expect(await filesAt('m')).toEqual(['MAR-INF', 'handler.py']);
    await put('m/second');
    expect(await filesAt('m')).toEqual(['1', 'second']);
  });

  it('does not take the manifest for the only folder', async () => {
    await put('m/MAR-INF/MANIFEST.json', '{"model":{"modelName":"m"}}');
    expect(await filesAt('m')).toEqual(['MAR-INF']);
  });

  it('opens a folder anew when one of its files has changed', async () => {
    await put('m/weights', 'one');
    await put('m/handler.py');
    const first = await store.open('m');
    await put('m/weights', 'two');
    const second = await store.open('m');
    expect(second.sha256).not.toBe(first.sha256);
    expect(second.dir).not.toBe(first.dir);
    await Promise.all([first.release(), second.release()]);
  });

  it("follows the operator's own links in the store", async () => {
    await mkdir(join(root, 'elsewhere'));
    await writeFile(join(root, 'elsewhere/weights'), '');
    await symlink('../elsewhere', join(root, 'store/linked'));
    expect(await filesAt('linked')).toEqual(['weights']);
    expect(await store.list()).toEqual(['linked']);
  });

  it('prefers the whole path to the file name', async () => {
    await put('a/m.mar/one');
    await put('m.mar/two');
    expect(await filesAt('a/m.mar')).toEqual(['one']);
    expect(await filesAt('b/m.mar')).toEqual(['two']);
  });

  it('names a model after its file', async () => {
    await put('foo-1.mar');
    const archive = await store.open('foo-1.mar');
    expect([archive.url, archive.defaultName]).toEqual(['foo-1.mar', 'foo_1']);
    await archive.release();
  });

  it('is what ArchiveModule provides', async () => {
    const options = { modelStore: join(root, 'store'), cacheDir: join(root, 'cache') };
    const module = await Test.createTestingModule({ imports: [ArchiveModule.register(options)] }).compile();
    await put('m.mar');
    expect(await module.get(ModelStore).list()).toEqual(['m.mar']);
  });
});
