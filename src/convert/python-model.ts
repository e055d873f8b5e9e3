import { lstat, mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { ModelStore, validateManifest, type ManifestModel, type ModelArchive } from '#libs/archive';
import { MarlineError } from '#libs/common';
import { carriedConfig, type CarriedConfig } from './carried-config.js';
import { handlerModule } from './python-handler.js';

/** An archive with a PyTorch model, unpacked into a folder of its own. */
export interface PythonModel {
  readonly name: string;
  readonly version: string;
  readonly manifest: ManifestModel;
  /** Folder of its files. */
  readonly dir: string;
  /** Paths of all its files below `dir`, with `/`. */
  readonly files: readonly string[];
  /** The file with the model's class, for an eager model; TorchScript has none. */
  readonly modelFile: string | undefined;
  /** The weights of an eager model, if any, or the TorchScript model. */
  readonly serializedFile: string | undefined;
  /** The text of the handler's file; `undefined` when the archive has none. */
  readonly handlerSource: string | undefined;
  readonly config: CarriedConfig;
  /** An empty folder for what converting needs; gone after `release`. */
  readonly workDir: string;
  release(): Promise<void>;
}

const LARGEST_HANDLER_BYTES = 2 ** 20;

/**
 * Opens an archive or model folder of this machine and finds its PyTorch model. Nothing of it is run.
 * @throws MarlineError `INVALID_INPUT`, `ARCHIVE_…`, and `MODEL_INVALID` when it has no model that PyTorch could load
 */
export async function openPythonModel(path: string): Promise<PythonModel> {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) {
    throw invalid(
      `${path} is an address. Converting runs the archive's code, so it takes only files of this machine: download it, and look at what is in it.`,
    );
  }
  if ((await stat(path).catch(() => undefined)) === undefined) throw invalid(`File not found: ${path}.`);
  const folder = await mkdtemp(join(tmpdir(), 'marline-convert-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  let archive: ModelArchive | undefined;
  try {
    const file = resolve(path);
    // A cache of its own: what runs in there may change its files, and no server shares them.
    const store = new ModelStore({ modelStore: dirname(file), cacheDir: join(folder, 'cache') });
    const opened = (archive = await store.open(basename(file)));
    return {
      ...(await read(opened)),
      workDir: folder,
      release: async () => {
        await opened.release();
        await remove();
      },
    };
  } catch (error) {
    await archive?.release();
    await remove();
    throw error;
  }
}

async function read(archive: ModelArchive): Promise<Omit<PythonModel, 'workDir' | 'release'>> {
  const { dir } = archive;
  const { name, version, manifest } = validateManifest(archive, { atStartup: true });
  const { model, runtime } = manifest;
  if (runtime === 'LSP' || runtime === 'node')
    throw noModel(`Its runtime is ${runtime}; only Python archives can be converted.`);
  const serializedFile = await fileOf(dir, 'serializedFile', model.serializedFile);
  const modelFile = await fileOf(dir, 'modelFile', model.modelFile);
  if (serializedFile?.toLowerCase().endsWith('.onnx') === true) {
    throw noModel(
      `Its model ${serializedFile} is an ONNX model already: pack that with "marline archive --runtime node".`,
    );
  }
  if (serializedFile === undefined && modelFile === undefined)
    throw noModel(
      'Its manifest names neither a serializedFile nor a modelFile: its handler finds the model itself.',
    );
  if (modelFile === undefined && serializedFile?.endsWith('.so') === true)
    throw noModel(`${serializedFile} is compiled ahead of time: pack the model that it was compiled from.`);
  return {
    name,
    version,
    manifest: model,
    dir,
    files: await filesOf(dir),
    modelFile,
    serializedFile,
    handlerSource: await handlerSource(dir, model.handler),
    config: await configOf(archive),
  };
}

/** @throws MarlineError `MODEL_INVALID` for a name that leads out of the archive or to no regular file */
async function fileOf(dir: string, key: string, name: string | undefined): Promise<string | undefined> {
  if (name === undefined || name === '') return undefined;
  const path = resolve(dir, name);
  const file = path.startsWith(dir + sep) ? await lstat(path).catch(() => undefined) : undefined;
  if (file?.isFile() === true) return name;
  throw noModel(`Its manifest names ${JSON.stringify(name)} as ${key}, which is not a file of the archive.`);
}

async function filesOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

async function handlerSource(dir: string, handler: string | undefined): Promise<string | undefined> {
  if (handler === undefined) return undefined;
  const path = join(dir, `${handlerModule(handler)}.py`);
  const file = await lstat(path).catch(() => undefined);
  if (file?.isFile() !== true) return undefined;
  return file.size > LARGEST_HANDLER_BYTES ? '' : readFile(path, 'utf8');
}

async function configOf({ dir, manifest, config }: ModelArchive): Promise<CarriedConfig> {
  const { configFile } = manifest.model;
  // What cannot be read the server does without, and says so.
  if (configFile === undefined || Object.keys(config.raw).length === 0) return { dropped: [] };
  return carriedConfig(await readFile(join(dir, configFile), 'utf8'));
}

function invalid(reason: string): MarlineError {
  return new MarlineError('INVALID_INPUT', { reason });
}

function noModel(reason: string): MarlineError {
  return new MarlineError('MODEL_INVALID', { reason: `This archive cannot be converted. ${reason}` });
}
