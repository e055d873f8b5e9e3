import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_ARCHIVE_LIMITS } from './archive-limits.js';
import { inspectArchive, readManifest, unpackArchive } from './mar-reader.js';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'marline-reader-'));
  await mkdir(join(root, 'target'));
  await mkdir(join(root, 'folder'));
});

afterEach(() => rm(root, { recursive: true }));

const unpack = async (path: string, change: () => Promise<void>) => {
  const source = await inspectArchive(path, DEFAULT_ARCHIVE_LIMITS);
  await change();
  await unpackArchive(source, join(root, 'target'), DEFAULT_ARCHIVE_LIMITS);
};

describe('unpackArchive', () => {
  it('refuses a file that is no longer the one whose digest was taken', async () => {
    const path = join(root, 'm.mar');
    await writeFile(path, 'one');
    await expect(unpack(path, () => writeFile(path, 'other'))).rejects.toMatchObject({
      code: 'ARCHIVE_INVALID',
      message: 'It changed while it was read; try again.',
    });
  });

  it('refuses a folder whose file changed, even to one of the same size', async () => {
    const file = join(root, 'folder/weights');
    await writeFile(file, 'one');
    await expect(unpack(join(root, 'folder'), () => writeFile(file, 'two'))).rejects.toMatchObject({
      code: 'ARCHIVE_INVALID',
      message: 'The file "weights" changed while it was read; try again.',
    });
  });
});

describe('readManifest', () => {
  it.each([
    ['a folder', () => mkdir(join(root, 'folder/MAR-INF/MANIFEST.json'), { recursive: true })],
    [
      'too large',
      async () => {
        await mkdir(join(root, 'folder/MAR-INF'));
        await writeFile(join(root, 'folder/MAR-INF/MANIFEST.json'), `{}${' '.repeat(2 ** 20)}`);
      },
    ],
  ])('refuses a manifest that is %s', async (_, make) => {
    await make();
    await expect(readManifest(join(root, 'folder'))).rejects.toMatchObject({
      code: 'ARCHIVE_INVALID',
      message: 'Failed to parse signature.json.',
    });
  });
});
