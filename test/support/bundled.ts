import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'rolldown';

/**
 * Makes of a TypeScript file of the tests one that a process or thread of its own can run. Libraries that it imports are those of
 * the build.
 * @example const entry = await bundled(new URL('fixtures/script.worker.ts', import.meta.url));
 */
export async function bundled(source: URL): Promise<URL> {
  const input = fileURLToPath(source);
  // Files of tests run at the same time, and may bundle the same one.
  const dir = fileURLToPath(new URL(`../../.marline/bundled/${process.pid}/`, import.meta.url));
  mkdirSync(dir, { recursive: true });
  const name = `${basename(input, '.ts')}.mjs`;
  await build({
    input,
    platform: 'node',
    external: /^(?:#|node:|@?[a-z])/,
    output: { dir, entryFileNames: name },
    logLevel: 'silent',
  });
  return pathToFileURL(join(dir, name));
}
