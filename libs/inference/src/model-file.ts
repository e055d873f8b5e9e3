import { lstat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import type { ModelArchive } from '#libs/archive';
import { MarlineError } from '#libs/common';

/** Whether the manifest of an archive names an ONNX file. */
export function hasModelFile({ manifest }: ModelArchive): boolean {
  return manifest.model.serializedFile?.toLowerCase().endsWith('.onnx') === true;
}

/**
 * The ONNX file that an archive's manifest names, as an absolute path; `undefined` when it names none.
 * @throws MarlineError `MODEL_INVALID` when the name leads out of the archive or to no regular file
 */
export async function modelFile(archive: ModelArchive): Promise<string | undefined> {
  const name = archive.manifest.model.serializedFile;
  if (name === undefined || !hasModelFile(archive)) return undefined;
  const path = resolve(archive.dir, name);
  const file = path.startsWith(archive.dir + sep) ? await lstat(path).catch(() => undefined) : undefined;
  if (file?.isFile() !== true) {
    throw new MarlineError('MODEL_INVALID', {
      reason: `The manifest names the model file "${name}", which is not a file of the archive.`,
    });
  }
  return path;
}
