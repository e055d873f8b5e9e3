import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, open, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { MarlineError, VERSION } from '#libs/common';
import { MANIFEST_PATH, formatCreatedOn, formatManifest, type Runtime } from './manifest.js';
import { collectFiles, isJavaScript, type PackFile, type PackSources } from './pack-files.js';
import { writeTar } from './tar-writer.js';
import { ZipWriter } from './zip-writer.js';

/** `default`: a deflated `.mar`; `zip-store`: a stored one; `tgz`: a `.tar.gz`; `no-archive`: a folder. */
export type ArchiveFormat = 'tgz' | 'no-archive' | 'zip-store' | 'default';

/** The archive formats, in the order in which the archiver offers them. */
export const ARCHIVE_FORMATS: readonly ArchiveFormat[] = ['tgz', 'no-archive', 'zip-store', 'default'];

/** What torch-model-archiver is told. Paths are relative to {@link PackOptions.cwd}. */
export interface PackOptions extends PackSources {
  /** Letters, digits, `_`, `-` and `.`, not starting with one of these signs. */
  readonly modelName: string;
  /** Any text; an empty one is left out of the manifest. */
  readonly version: string;
  /**
   * A Python or JavaScript file (`.py` is added to a name without it), or the name of a handler that the server has.
   * With runtime `node` every name without a dot is such a name.
   */
  readonly handler: string;
  readonly serializedFile?: string;
  readonly modelFile?: string;
  /** Files, patterns (`*`, `?`, `[…]`), and folders, whose contents are packed without the folder's own name. */
  readonly extraFiles?: readonly string[];
  /** `node` for a JavaScript handler, else `python`. */
  readonly runtime?: Runtime;
  /** An existing folder; the current one by default. */
  readonly exportPath?: string;
  readonly archiveFormat?: ArchiveFormat;
  /** Overwrites an existing archive. */
  readonly force?: boolean;
  readonly requirementsFile?: string;
  readonly configFile?: string;
  readonly cwd?: string;
  /** Told what was overwritten, and which patterns matched nothing. */
  readonly warn?: (text: string) => void;
  /** The time in the manifest's `createdOn`. */
  readonly now?: Date;
}

const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9_\-.]*$/;
const EXTENSIONS: Record<ArchiveFormat, string> = {
  tgz: '.tar.gz',
  'no-archive': '',
  'zip-store': '.mar',
  default: '.mar',
};

/**
 * Packs a model as torch-model-archiver does: same options, checks, texts and layout. Files are sorted by name, the manifest
 * comes last. The archive appears under its name only when it is complete; a failure leaves nothing.
 * @returns the archive's path, as `exportPath` spells it
 * @throws MarlineError `PACK_FAILED`, `PACK_FILE_NOT_FOUND`
 * @example await packArchive({ modelName: 'mnist', version: '1.0', handler: 'handler.mjs', serializedFile: 'mnist.onnx' });
 */
export async function packArchive(options: PackOptions): Promise<string> {
  const cwd = options.cwd ?? process.cwd();
  const exportPath = options.exportPath ?? cwd;
  const format = options.archiveFormat ?? 'default';
  const warn = options.warn ?? (() => undefined);
  await checkPackTarget(options.modelName, exportPath, cwd);
  const shown = `${exportPath.replace(/\/$/, '')}/${options.modelName}${EXTENSIONS[format]}`;
  const target = resolve(cwd, shown);
  if ((await stat(target).catch(() => undefined)) !== undefined) {
    if (options.force !== true) throw alreadyExists(shown);
    warn(`Overwriting ${shown} ...`);
  }
  const runtime = options.runtime ?? (isJavaScript(options.handler) ? 'node' : 'python');
  const files = await collectFiles(options, runtime, cwd, warn);
  const manifest = manifestText(options, runtime);
  if (format === 'no-archive') await writeFolder(target, files, manifest);
  else await writeAside(target, (file) => writeFormat(file, format, options.modelName, files, manifest));
  return shown;
}

/**
 * What {@link packArchive} checks of its target first, for those who have long work to do before they pack.
 * @throws MarlineError `PACK_FAILED` for a name that no archive may have, or a folder that is none
 */
export async function checkPackTarget(
  modelName: string,
  exportPath: string,
  cwd = process.cwd(),
): Promise<void> {
  if (!MODEL_NAME.test(modelName)) {
    throw failed(
      `Model name contains special characters.\nThe allowed regular expression filter for model name is: ${MODEL_NAME.source}`,
    );
  }
  if ((await stat(resolve(cwd, exportPath)).catch(() => undefined))?.isDirectory() !== true) {
    throw failed(
      `Given export-path ${exportPath} is not a directory. Point to a valid export-path directory.`,
    );
  }
}

function manifestText(options: PackOptions, runtime: Runtime): string {
  const name = (path: string | undefined) => (path ? basename(path) : undefined);
  return formatManifest({
    createdOn: formatCreatedOn(options.now ?? new Date()),
    runtime,
    model: {
      modelName: options.modelName,
      serializedFile: name(options.serializedFile),
      handler: basename(options.handler),
      modelFile: name(options.modelFile),
      modelVersion: options.version || undefined,
      requirementsFile: name(options.requirementsFile),
      configFile: name(options.configFile),
    },
    archiverVersion: VERSION,
  });
}

async function writeFormat(
  file: FileHandle,
  format: Exclude<ArchiveFormat, 'no-archive'>,
  modelName: string,
  files: readonly PackFile[],
  manifest: string,
): Promise<void> {
  const all = [
    ...files.map((each) => ({ ...each, bytes: () => createReadStream(each.path) })),
    manifestFile(manifest),
  ];
  if (format === 'tgz')
    return writeTar(
      file,
      all.map((each) => ({ ...each, name: `${modelName}/${each.name}` })),
    );
  const zip = new ZipWriter(file, format === 'default');
  for (const { name, bytes, size, mode, modified } of all)
    await zip.add(name, bytes(), { sizeHint: size, mode, modified });
  await zip.end();
}

function manifestFile(text: string) {
  const content = Buffer.from(text);
  const bytes = async function* () {
    yield content;
  };
  return { name: MANIFEST_PATH, size: content.length, mode: 0o100644, modified: new Date(), bytes };
}

async function writeFolder(target: string, files: readonly PackFile[], manifest: string): Promise<void> {
  for (const { name, path } of files) {
    await mkdir(dirname(join(target, name)), { recursive: true });
    await copyFile(path, join(target, name));
  }
  await mkdir(dirname(join(target, MANIFEST_PATH)), { recursive: true });
  await writeFile(join(target, MANIFEST_PATH), manifest);
}

async function writeAside(target: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const aside = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(aside, 'wx');
    try {
      await write(file);
    } finally {
      await file.close();
    }
    await rename(aside, target);
  } finally {
    await rm(aside, { force: true });
  }
}

function alreadyExists(path: string): MarlineError {
  return failed(
    `${path} already exists.\nPlease specify --force/-f option to overwrite the model archive output file.\n` +
      'See -h/--help for more details.',
  );
}

function failed(reason: string): MarlineError {
  return new MarlineError('PACK_FAILED', { reason });
}
