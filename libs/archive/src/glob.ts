import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';

/** True for a path that the archiver expands: it holds `*`, `?` or a pair of brackets. */
export function isGlob(path: string): boolean {
  return /[*?]/.test(path) || (path.includes('[') && path.includes(']'));
}

/**
 * The existing paths that match a pattern of `*`, `?`, `[abc]` and `[!abc]`, sorted, spelled as the pattern is. As in
 * Python's glob none of them crosses a `/`, and a leading dot has to be written out.
 * @param cwd what a relative pattern is relative to
 */
export async function expandGlob(pattern: string, cwd: string): Promise<string[]> {
  const [first = '', ...rest] = pattern.split('/');
  let found = first === '' ? [''] : await matches([undefined], first, cwd);
  for (const part of rest) found = await matches(found, part, cwd);
  const existing: string[] = [];
  for (const path of found) {
    if (await stat(resolve(cwd, path)).catch(() => undefined)) existing.push(path);
  }
  return existing;
}

async function matches(
  folders: readonly (string | undefined)[],
  part: string,
  cwd: string,
): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    const join = (name: string) => (folder === undefined ? name : `${folder}/${name}`);
    if (!isGlob(part)) {
      found.push(join(part));
      continue;
    }
    const pattern = toRegExp(part);
    const names = await readdir(resolve(cwd, folder === '' ? '/' : (folder ?? '.'))).catch(() => []);
    found.push(
      ...names
        .filter((name) => pattern.test(name) && (part.startsWith('.') || !name.startsWith('.')))
        .map(join),
    );
  }
  return found.toSorted();
}

function toRegExp(part: string): RegExp {
  const source = part.replace(
    /\[(!?)([^\]]+)\]|[*?]|[\\^$.|+(){}[\]]/g,
    (token, not?: string, set?: string) => {
      if (set !== undefined) return `[${not === '!' ? '^' : ''}${set.replace(/[\\^[]/g, '\\$&')}]`;
      if (token === '*') return '.*';
      return token === '?' ? '.' : `\\${token}`;
    },
  );
  return new RegExp(`^${source}$`, 's');
}
