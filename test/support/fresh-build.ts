import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Builds what threads and processes of the tests run, unless it is newer than all sources; removes what was bundled for earlier runs. */
export default function setup(): void {
  rmSync(join(root, '.marline/bundled'), { recursive: true, force: true });
  const sources = Math.max(...['src', 'libs', 'config/tsconfig.build.json', 'package.json'].map(newestIn));
  if (newestIn('dist') < sources)
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
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
