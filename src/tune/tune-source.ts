import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { ModelStore, packArchive } from '#libs/archive';
import { MarlineError } from '#libs/common';

/** An archive that is ready to be measured, with folders of its own for what that leaves behind. */
export interface TuneSource {
  readonly modelStore: string;
  readonly archive: string;
  readonly cacheDir: string;
  /** Its `model-config.yaml`; empty without one. */
  readonly ownConfig: string;
  /** Gives everything back. */
  release(): Promise<void>;
}

/**
 * Opens an archive, a model folder, or an `.onnx` file, which gets the handler `tensor`.
 * @throws MarlineError `INVALID_INPUT` when there is no such file, `ARCHIVE_…`
 */
export async function openTuneSource(path: string): Promise<TuneSource> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new MarlineError('INVALID_INPUT', { reason: `File not found: ${path}.` });
  const folder = await mkdtemp(join(tmpdir(), 'marline-tune-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const file = path.endsWith('.onnx') ? await packed(resolve(path), folder) : resolve(path);
    const place = { modelStore: dirname(file), archive: basename(file), cacheDir: join(folder, 'cache') };
    const archive = await new ModelStore(place).open(place.archive);
    const { configFile } = archive.manifest.model;
    // What cannot be read the server does without, and says so.
    const readable = configFile !== undefined && Object.keys(archive.config.raw).length > 0;
    const ownConfig = readable ? await readFile(join(archive.dir, configFile), 'utf8') : '';
    const release = async () => {
      await archive.release();
      await remove();
    };
    return { ...place, ownConfig, release };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function packed(serializedFile: string, exportPath: string): Promise<string> {
  await packArchive({
    modelName: 'model',
    version: '1.0',
    handler: 'tensor',
    runtime: 'node',
    serializedFile,
    exportPath,
    archiveFormat: 'zip-store',
  });
  return join(exportPath, 'model.mar');
}
