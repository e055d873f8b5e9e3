import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelStore, packArchive, type ModelArchive } from '#libs/archive';
import { inThisProcess, type Launcher } from './launch.js';
import { STORE } from './run-folder.js';

/** Handlers in JavaScript, each named like the recorded one in Python that it is the twin of. */
const TWINS = fileURLToPath(new URL('../python/twins/', import.meta.url));

/** Starts Marline in this process without Python: in its model store each recorded archive has the twin of its handler, if there is one. */
export function withTwins(): Launcher {
  const marline = inThisProcess();
  return {
    ports: (config) => marline.ports(config),
    async start(folder) {
      await stockTwins(folder.modelStore);
      return marline.start(folder);
    },
  };
}

async function stockTwins(store: string): Promise<void> {
  const temporary = await mkdtemp(join(tmpdir(), 'marline-twins-'));
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
  await rm(temporary, { recursive: true });
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
