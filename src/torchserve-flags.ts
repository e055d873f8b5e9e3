import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { invalid } from './setting.js';
import { reasonWithoutEffect } from './torchserve-keys.js';

/** The options of `torchserve` that have no effect here, by their keys. */
export interface FlagsWithoutEffect {
  readonly workflow_store?: string;
  readonly log_config?: string;
  readonly cpp_log_config?: string;
  readonly plugins_path?: string;
}

/**
 * Looks at them as TorchServe does, so that a mistyped one does not go unnoticed.
 * @returns one line for each that was given: its name, and why it has no effect
 * @throws MarlineError `OPTIONS_INVALID` when a file or folder is not there
 */
export function describeFlagsWithoutEffect(flags: FlagsWithoutEffect, directory: string): string[] {
  const { workflow_store, log_config, cpp_log_config } = flags;
  if (workflow_store !== undefined && kindOf(workflow_store, directory) !== 'directory')
    throw invalid(`--workflow-store directory not found: ${workflow_store}`);
  for (const [flag, file] of Object.entries({
    '--log-config': log_config,
    '--cpp-log-config': cpp_log_config,
  }))
    if (file !== undefined && kindOf(file, directory) !== 'file')
      throw invalid(`${flag} file not found: ${resolve(directory, file)}`);
  return Object.entries(flags)
    .filter(([, value]) => value !== undefined)
    .map(([key]) => `--${key.replaceAll('_', '-')} has no effect: ${reasonWithoutEffect(key)}.`);
}

function kindOf(path: string, directory: string): 'file' | 'directory' | undefined {
  const found = statSync(resolve(directory, path), { throwIfNoEntry: false });
  if (found?.isDirectory()) return 'directory';
  return found === undefined ? undefined : 'file';
}
