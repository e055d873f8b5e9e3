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
