import { readdir, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { MarlineError } from '#libs/common';
import { expandGlob, isGlob } from './glob.js';
import { MANIFEST_PATH, type Runtime } from './manifest.js';

/** One file to pack. */
export interface PackFile {
  /** Its path inside the archive. */
  readonly name: string;
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly modified: Date;
}

/** The files that the archiver's options name; see {@link PackOptions} for each. */
export interface PackSources {
  readonly modelFile?: string;
  readonly serializedFile?: string;
  readonly handler: string;
  readonly extraFiles?: readonly string[];
  readonly requirementsFile?: string;
  readonly configFile?: string;
}

const BUILT_IN_HANDLERS = [
  'base_handler',
  'text_classifier',
  'image_classifier',
  'object_detector',
  'image_segmenter',
  'dali_image_classifier',
  'vllm_handler',
  'trt_llm_handler',
  // Ours; a file tensor.py has to be named with its ending.
  'tensor',
];
const BUILT_IN_LSP_HANDLERS = ['BaseHandler', 'TorchScriptHandler'];
const SKIPPED_FOLDERS = ['__MACOSX', '__pycache__'];
const DEEPEST_FOLDER = 64;

/** True for a handler that is a JavaScript file. */
export function isJavaScript(handler: string): boolean {
  return /\.m?js$/.test(handler);
}

/**
 * Finds all files to pack, sorted by their name in the archive; of two with one name the later option's wins, as the
 * archiver copies them in this order: model file, serialized file, handler, extra files, requirements, configuration.
 * @throws MarlineError `PACK_FILE_NOT_FOUND`, `PACK_FAILED`
 */
export async function collectFiles(
  sources: PackSources,
  runtime: Runtime,
  cwd: string,
  warn: (text: string) => void,
): Promise<PackFile[]> {
  const files = new Map<string, PackFile>();
  const put = (file: PackFile) => files.set(file.name, file);
  const putNamed = async (path: string | undefined) => {
    if (path) put(await namedFile(path, cwd));
  };
  await putNamed(sources.modelFile);
  await putNamed(sources.serializedFile);
  await putNamed(handlerFile(sources.handler, runtime));
  for (const path of sources.extraFiles ?? []) {
    for (const file of await extraFiles(path, cwd, warn)) put(file);
  }
  await putNamed(sources.requirementsFile);
  await putNamed(sources.configFile);
  files.delete(MANIFEST_PATH);
  return [...files.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The path of the handler's file; `undefined` for a handler that is not packed because the server has it. */
function handlerFile(handler: string, runtime: Runtime): string | undefined {
  if (isJavaScript(handler)) return handler;
  if (runtime === 'node') {
    if (!/[./]/.test(handler)) return undefined;
    throw new MarlineError('PACK_FAILED', {
      reason: `The handler ${handler} does not run on node: give a .js or .mjs file, or the name of a registered handler.`,
    });
  }
  if (runtime === 'LSP') {
    if (BUILT_IN_LSP_HANDLERS.includes(handler)) return undefined;
    return `${withoutFunction(handler)}${process.platform === 'darwin' ? '.dylib' : '.so'}`;
  }
  if (BUILT_IN_HANDLERS.includes(handler)) return undefined;
  return handler.includes('.py') ? handler : `${withoutFunction(handler)}.py`;
}

function withoutFunction(handler: string): string {
  return handler.includes(':') ? handler.slice(0, handler.indexOf(':')) : handler;
}

async function namedFile(path: string, cwd: string): Promise<PackFile> {
  const file = await fileAt(basename(path), resolve(cwd, path));
  if (file !== undefined) return file;
  const isThere = (await stat(resolve(cwd, path)).catch(() => undefined)) !== undefined;
  if (isThere) throw new MarlineError('PACK_FAILED', { reason: `[Errno 21] Is a directory: '${path}'` });
  throw new MarlineError('PACK_FILE_NOT_FOUND', { reason: `[Errno 2] No such file or directory: '${path}'` });
}

async function extraFiles(path: string, cwd: string, warn: (text: string) => void): Promise<PackFile[]> {
  if (path === '') return [];
  const isThere = (await stat(resolve(cwd, path)).catch(() => undefined)) !== undefined;
  if (!isGlob(path) && !isThere)
    throw new MarlineError('PACK_FILE_NOT_FOUND', { reason: `File does not exist: ${path}` });
  const found = await expandGlob(path.trim(), cwd);
  if (isGlob(path) && found.length === 0) warn(`Given wildcard pattern did not match any file: ${path}`);
  const files: PackFile[] = [];
  for (const each of found) {
    const file = await fileAt(basename(each), resolve(cwd, each));
    if (file !== undefined) files.push(file);
    else files.push(...(await folderFiles(resolve(cwd, each), '', 0, each)));
  }
  return files;
}

async function folderFiles(
  folder: string,
  prefix: string,
  depth: number,
  given: string,
): Promise<PackFile[]> {
  if (depth > DEEPEST_FOLDER)
    throw new MarlineError('PACK_FAILED', { reason: `The folder ${given} is too deep, or contains itself.` });
  const files: PackFile[] = [];
  for (const entry of await readdir(folder)) {
    const path = resolve(folder, entry);
    const file = await fileAt(`${prefix}${entry}`, path);
    if (file !== undefined) files.push(file);
    else if (!SKIPPED_FOLDERS.includes(entry) && !entry.startsWith('.') && (await isFolder(path))) {
      files.push(...(await folderFiles(path, `${prefix}${entry}/`, depth + 1, given)));
    }
  }
  return files;
}

async function fileAt(name: string, path: string): Promise<PackFile | undefined> {
  const status = await stat(path).catch(() => undefined);
  return status?.isFile() === true
    ? { name, path, size: status.size, mode: status.mode, modified: status.mtime }
    : undefined;
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
