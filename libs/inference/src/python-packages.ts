import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import type { ModelArchive } from '#libs/archive';
import { installRequirements, interpreterCommand, usableInterpreter, venvInterpreter } from '#libs/python';
import { contentCache } from './content-caches.js';
import type { InferenceOptions } from './inference.options.js';

/** What was installed for a Python archive. */
export interface PythonPackages {
  /** The Python that workers are to use. */
  readonly interpreter: string;
  /** A folder of modules; absent where the interpreter finds them by itself. */
  readonly modulesDir?: string;
  /** Call it when no worker uses them any more. */
  release(): Promise<void>;
}

/**
 * Installs what the archive requires, when the options allow it and it asks for something: into a folder of modules or, with
 * `useVenv`, into a virtual environment that sees the packages of the configured Python too. Kept beside the archive's
 * folder, which never changes, and shared by all who serve the same archive with the same Python.
 * @throws MarlineError `RUNTIME_UNSUPPORTED` with what pip said, or what the Python lacks
 */
export async function preparePackages(
  { dir, sha256, manifest, config }: ModelArchive,
  options: InferenceOptions,
): Promise<PythonPackages | undefined> {
  const { requirementsFile = '' } = manifest.model;
  if (!options.installPyDepPerModel || requirementsFile === '') return undefined;
  const requirements = resolve(dir, requirementsFile);
  // Registration does not look for it either: TorchServe's archiver packs it, so only a strange archive has none.
  if (!requirements.startsWith(dir + sep) || !existsSync(requirements)) return undefined;
  const interpreter = interpreterCommand(options.python, dir);
  const { command, pythonVersion } = await usableInterpreter(interpreter);
  const useVenv = config.useVenv ?? false;
  const python = createHash('sha256')
    .update(JSON.stringify([command, pythonVersion, useVenv]))
    .digest('hex');
  const cache = await contentCache(join(options.cacheDir, 'python'));
  const held = await cache.acquire(`${sha256}-${python.slice(0, 16)}`, (target) =>
    installRequirements({ interpreter, requirements, archiveDir: dir, target, useVenv }),
  );
  return {
    interpreter: useVenv ? venvInterpreter(held.dir) : interpreter,
    ...(!useVenv && { modulesDir: held.dir }),
    release: () => held.release(),
  };
}
