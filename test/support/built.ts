import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);

/**
 * A file of the build, for processes and threads of their own. Only vitest transforms TypeScript by the way; a loader in Node.js
 * instead makes each start of a server half as expensive again, and each start of a thread three times as expensive.
 * @param path below the root, such as `src/cli.js`
 */
export function built(path: string): URL {
  return new URL(`dist/${path}`, root);
}

/** The `marline` command. */
export const CLI = fileURLToPath(built('src/cli.js'));

/**
 * What fresh-build.ts makes of a file `*.worker.ts` of the tests, for a process or thread of its own. Libraries that it imports are
 * those of the build.
 * @example const entry = bundled(new URL('fixtures/script.worker.ts', import.meta.url));
 */
export function bundled(source: URL): URL {
  return new URL(`.marline/bundled/${basename(source.pathname, '.ts')}.mjs`, root);
}
