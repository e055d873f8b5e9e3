import { isMap, parseDocument } from 'yaml';
import { MarlineError, messageOf } from '#libs/common';

/** Keys that only TorchServe's Python worker, or a program that starts it, reads. */
const PYTHON_KEYS = [
  'pt2',
  'torchrun',
  'parallelType',
  'parallelLevel',
  'useVenv',
  'asyncCommunication',
  'micro_batching',
  'dali',
  'deepspeed',
  'pippy',
];

/** A configuration without what only Python reads. */
export interface CarriedConfig {
  /** `undefined` when nothing is left of it. */
  readonly text?: string;
  readonly dropped: readonly string[];
}

/**
 * Takes the keys for Python out of a `model-config.yaml`; all other keys and the comments stay. A file that the server could not
 * read is left behind.
 */
export function carriedConfig(own: string): CarriedConfig {
  const document = parseDocument(own, { schema: 'core', merge: true, uniqueKeys: false });
  if (document.errors.length > 0 || !isMap(document.contents)) return { dropped: [] };
  const dropped = PYTHON_KEYS.filter((key) => document.has(key));
  for (const key of dropped) while (document.delete(key));
  if (document.contents.items.length === 0) return { dropped };
  try {
    return { text: document.toString(), dropped };
  } catch (cause) {
    const reason = `model-config.yaml cannot be carried over without ${dropped.join(', ')}, which other keys refer to: ${messageOf(cause)}. Write these keys out.`;
    throw new MarlineError('ARCHIVE_INVALID', { reason }, { cause });
  }
}
