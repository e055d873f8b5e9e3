import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MarlineError } from '#libs/common';

/** Names of a model's classes by their index. */
export type Labels = ReadonlyMap<number, string>;

const FILE = 'index_to_name.json';

/**
 * Reads `index_to_name.json` in TorchServe's forms: `{ "0": "tench" }`, `{ "0": ["n01440764", "tench"] }` (the last
 * element counts) or `{ "object_type_names": ["tench"] }`. Without the file there are no labels.
 * @throws MarlineError `HANDLER_INVALID` for anything else
 */
export async function readLabels(modelDir: string): Promise<Labels> {
  let text: string;
  try {
    text = await readFile(join(modelDir, FILE), 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw new MarlineError('HANDLER_INVALID', { reason: `${FILE} cannot be read.` }, { cause });
  }
  return parseLabels(text);
}

/** @throws MarlineError `HANDLER_INVALID` */
export function parseLabels(text: string): Labels {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new MarlineError('HANDLER_INVALID', { reason: `${FILE} is not valid JSON.` }, { cause });
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw malformed('the file holds no JSON object');
  const names = 'object_type_names' in document ? document.object_type_names : document;
  if (typeof names !== 'object' || names === null) throw malformed('"object_type_names" is no array');
  return new Map(Object.entries(names).map(([key, value]) => [indexOf(key), nameOf(key, value)]));
}

/** The label of a class, or its number as text. */
export function labelAt(labels: Labels, index: number): string {
  return labels.get(index) ?? String(index);
}

function indexOf(key: string): number {
  if (!/^\d+$/.test(key)) throw malformed(`the key ${JSON.stringify(key)} is no class number`);
  return Number(key);
}

function nameOf(key: string, value: unknown): string {
  const name: unknown = Array.isArray(value) ? value.at(-1) : value;
  if (typeof name !== 'string') throw malformed(`class ${key} is no text and no [id, name]`);
  return name;
}

function malformed(problem: string): MarlineError {
  return new MarlineError('HANDLER_INVALID', {
    reason: `${FILE}: ${problem}. Write { "0": "name" }, { "0": ["id", "name"] } or { "object_type_names": ["name"] }.`,
  });
}
