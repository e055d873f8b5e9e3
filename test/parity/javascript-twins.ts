import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelStore, packArchive, type ModelArchive } from '#libs/archive';
import { inThisProcess, type Launcher } from './launch.js';
import { STORE } from './run-folder.js';

/** Handlers in JavaScript, each named like the recorded one in Python that it is the twin of. */
const TWINS = fileURLToPath(new URL('../python/twins/', import.meta.url));

/** Starts Marline in this process without Python: where there is a twin of its handler, each recorded archive has that. */
export function withTwins(): Launcher & { remove(): Promise<void> } {
  let stocked: Promise<string> | undefined;
  return {
    ...inThisProcess(),
    store: () => (stocked ??= stockTwins()),
    async remove() {
      if (stocked !== undefined) await rm(dirname(await stocked), { recursive: true });
    },
  };
}

/** The recorded model store with the twins, in a folder of its own. */
async function stockTwins(): Promise<string> {
  const temporary = await mkdtemp(join(tmpdir(), 'marline-twins-'));
  const store = join(temporary, 'store');
  await cp(STORE, store, { recursive: true });
  const recorded = new ModelStore({ modelStore: STORE, cacheDir: join(temporary, 'cache') });
  for (const file of await recorded.list()) {
    // Some of the recorded archives are broken.
    const archive = file.endsWith('.mar') ? await recorded.open(file).catch(() => undefined) : undefined;
    if (archive === undefined) continue;
    const twin = join(TWINS, archive.manifest.model.handler?.replace(/\.py$/, '.mjs') ?? '');
    if (twin.endsWith('.mjs') && existsSync(twin))
      await cp(await packTwin(archive, twin, temporary), join(store, file));
    await archive.release();
  }
  return store;
}

/** Packs what the recorded archive holds, with another handler. */
async function packTwin(archive: ModelArchive, twin: string, exportPath: string): Promise<string> {
  const { modelName = '', modelVersion = '', handler, serializedFile, configFile } = archive.manifest.model;
  const others = (await readdir(archive.dir)).filter((name) => ![handler, 'MAR-INF'].includes(name));
  const within = (name: string) => join(archive.dir, name);
  return packArchive({
    modelName,
    version: modelVersion,
    handler: twin,
    exportPath,
    force: true,
    extraFiles: others.map(within),
    ...(serializedFile !== undefined && { serializedFile: within(serializedFile) }),
    ...(configFile !== undefined && { configFile: within(configFile) }),
  });
}
