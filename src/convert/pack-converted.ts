import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { packArchive } from '#libs/archive';
import { carriedFiles, type CarriedFiles } from './carried-files.js';
import type { ExportedModel } from './export-result.js';
import type { PythonModel } from './python-model.js';

/** The parts of a converted archive. */
export interface ConvertedParts {
  readonly model: PythonModel;
  readonly modelName: string;
  /** A JavaScript file, or the name of a handler. */
  readonly handler: string;
  readonly exported: ExportedModel;
  /** An existing folder. */
  readonly exportPath: string;
  readonly force: boolean;
}

/** True for a handler that is packed into the archive. */
export function isJavaScriptFile(handler: string): boolean {
  return /\.m?js$/.test(handler);
}

/**
 * Packs the exported model with what the archive holds for others than Python.
 * @returns the archive's path, as `exportPath` spells it, and what became of the other files
 * @throws MarlineError `PACK_FAILED`, `PACK_FILE_NOT_FOUND`
 */
export async function packConverted({
  model,
  modelName,
  handler,
  exported,
  exportPath,
  force,
}: ConvertedParts): Promise<{ readonly path: string; readonly files: CarriedFiles }> {
  const { dir, manifest, config, version } = model;
  const { weights } = exported;
  const isFile = isJavaScriptFile(handler);
  const own = ['model.onnx', ...weights, ...(isFile ? [basename(handler)] : [])];
  const files = carriedFiles(model.files, manifest, own);
  const parts = join(model.workDir, 'parts');
  // A folder is packed with what is in it: the files keep their places, whatever they are called.
  const extra = join(parts, 'extra');
  await mkdir(extra, { recursive: true });
  for (const path of files.kept) {
    await mkdir(dirname(join(extra, path)), { recursive: true });
    await copyFile(join(dir, path), join(extra, path));
  }
  for (const name of weights) await copyFile(join(exported.folder, 'onnx', name), join(extra, name));
  let configFile: string | undefined;
  if (config.text !== undefined) {
    configFile = join(parts, 'config', basename(manifest.configFile ?? ''));
    await mkdir(dirname(configFile));
    await writeFile(configFile, config.text);
  }
  const path = await packArchive({
    modelName,
    version,
    runtime: 'node',
    handler: isFile ? resolve(handler) : handler,
    serializedFile: join(exported.folder, 'onnx', 'model.onnx'),
    extraFiles: ['extra'],
    configFile,
    cwd: parts,
    exportPath: resolve(exportPath),
    force,
  });
  return { path: join(exportPath, basename(path)), files };
}
