import { readdir } from 'node:fs/promises';
import { expect } from 'vitest';
import { tgzOf, zipOf, type TarPart, type ZipPart } from './hostile-archives.js';
import { storeFolder, type StoreFolder } from './model-store-folder.js';

export const MANIFEST: ZipPart = { name: 'MAR-INF/MANIFEST.json', data: '{"model":{"modelName":"m"}}' };

/** Opens an archive that must be refused, and sees that nothing of it is left anywhere. */
export async function refusal(
  folder: StoreFolder,
  name: string,
  content: Buffer,
): Promise<{ code: string; message: string }> {
  await folder.put(name, content);
  const before = await folder.everything();
  const error = await folder.store.open(name).then(
    async (archive) => {
      throw new Error(`it was opened: ${(await readdir(archive.dir, { recursive: true })).join(', ')}`);
    },
    (reason: unknown) => reason as { code: string; message: string; status: number },
  );
  expect(await folder.cached()).toEqual([]);
  expect(
    (await folder.everything()).filter((path) => !path.startsWith('cache') && !before.includes(path)),
  ).toEqual([]);
  expect(error.message).not.toContain(folder.root);
  return error;
}

/** The refusal of a zip file with a manifest and these entries. */
export async function zipRefusal(parts: ZipPart[], folder?: StoreFolder) {
  return refusal(folder ?? (await storeFolder()), 'hostile.mar', zipOf([MANIFEST, ...parts]));
}

/** The refusal of a gzip tar with one harmless file and these entries. */
export async function tarRefusal(parts: TarPart[], folder?: StoreFolder) {
  return refusal(
    folder ?? (await storeFolder()),
    'hostile.tar.gz',
    tgzOf([{ name: 'm/a', data: 'a' }, ...parts]),
  );
}
