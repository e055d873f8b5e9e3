import type { ManifestModel } from '#libs/archive';
import { handlerModule } from './python-handler.js';

/** The files of an archive, by what becomes of them. */
export interface CarriedFiles {
  /** Packed as they are, such as labels and vocabularies. */
  readonly kept: readonly string[];
  /** What only Python reads. */
  readonly dropped: readonly string[];
}

/** Code, pickles and what pip reads. */
const PYTHON_FILES = /\.(?:py|pyc|pyo|pyd|pyi|so|pt|pth|pt2|pkl|pickle|whl)$/i;
const PYTHON_FOLDERS = /(?:^|\/)(?:__pycache__|venv|[^/]*\.(?:dist|egg)-info)\//;

/**
 * Tells which files of an archive go into the converted one; manifest and configuration are made anew and are in neither list.
 * @param paths of all files, relative to the archive's folder, with `/`
 * @param replaced names of files that the converted archive brings itself
 */
export function carriedFiles(
  paths: readonly string[],
  model: ManifestModel,
  replaced: readonly string[],
): CarriedFiles {
  const forPython = new Set([
    model.modelFile,
    model.serializedFile,
    model.requirementsFile,
    `${handlerModule(model.handler ?? '')}.py`,
    ...replaced,
  ]);
  const others = paths
    .filter((path) => !path.startsWith('MAR-INF/') && path !== model.configFile)
    .toSorted((a, b) => (a < b ? -1 : 1));
  const isDropped = (path: string) =>
    forPython.has(path) || PYTHON_FILES.test(path) || PYTHON_FOLDERS.test(path);
  return { kept: others.filter((path) => !isDropped(path)), dropped: others.filter(isDropped) };
}
