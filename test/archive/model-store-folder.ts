import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { ModelStore, type ArchiveLimits } from '#libs/archive';

/** A model store in a folder of its own, removed after the test. */
export interface StoreFolder {
  readonly root: string;
  readonly store: ModelStore;
  readonly modelStore: string;
  readonly cacheDir: string;
  put(name: string, content: Buffer | string): Promise<string>;
  /** Names of everything that lies in the cache: unpacked, being unpacked, being removed. */
  cached(): Promise<string[]>;
  /** All paths below the root, to see that nothing was written elsewhere. */
  everything(): Promise<string[]>;
}

export async function storeFolder(limits: Partial<ArchiveLimits> = {}): Promise<StoreFolder> {
  const root = await mkdtemp(join(tmpdir(), 'marline-store-'));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  const modelStore = join(root, 'store');
  const cacheDir = join(root, 'cache');
  await mkdir(modelStore);
  return {
    root,
    modelStore,
    cacheDir,
    store: new ModelStore({ modelStore, cacheDir, limits }),
    async put(name, content) {
      await mkdir(dirname(join(modelStore, name)), { recursive: true });
      await writeFile(join(modelStore, name), content);
      return name;
    },
    async cached() {
      const parts = ['entries', 'staging', 'trash'].map((part) => join(cacheDir, 'archives', part));
      return (await Promise.all(parts.map((part) => readdir(part).catch(() => [])))).flat();
    },
    everything: async () => (await readdir(root, { recursive: true })).toSorted(),
  };
}
