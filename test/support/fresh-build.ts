import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Builds what threads and processes of the tests run, unless it is newer than all sources, and bundles those of the tests themselves. */
export default async function setup(): Promise<void> {
  const sources = Math.max(...['src', 'libs', 'config/tsconfig.build.json', 'package.json'].map(newestIn));
  if (newestIn('dist') < sources)
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
  const dir = join(root, '.marline/bundled');
  rmSync(dir, { recursive: true, force: true });
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' });
  const workers = files.filter((file) => file.endsWith('.worker.ts'));
  await build({
    input: Object.fromEntries(workers.map((file) => [basename(file, '.ts'), join(root, 'test', file)])),
    platform: 'node',
    external: /^(?:#|node:|@?[a-z])/,
    output: { dir, entryFileNames: '[name].mjs', chunkFileNames: '[name].chunk.mjs' },
    logLevel: 'silent',
  });
}

/** When a file, or the last one in a folder, was changed. */
function newestIn(path: string): number {
  const found = statSync(join(root, path), { throwIfNoEntry: false });
  if (found?.isDirectory() !== true) return found?.mtimeMs ?? 0;
  const files = readdirSync(join(root, path), { recursive: true, withFileTypes: true });
  return Math.max(
    ...files
      .filter((file) => file.isFile() && !file.name.endsWith('.spec.ts'))
      .map((file) => statSync(join(file.parentPath, file.name)).mtimeMs),
  );
}
