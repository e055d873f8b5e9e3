import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const at = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/**
 * Makes plain JavaScript of a program of this folder and tells where it is. What is measured runs as an application's own build
 * does: with the libraries of `dist`, and without the loader that this benchmark is read with.
 */
export async function compile(program: string): Promise<string> {
  const file = at(`.marline/bench-work/${basename(program, '.ts')}.mjs`);
  const bundle = await rolldown({
    input: at(`test/bench/${program}`),
    platform: 'node',
    external: /^[^./]/,
    resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
    plugins: [
      {
        name: 'sources of the repository are taken from dist',
        resolveId(source) {
          const [, path] = /^(?:\.\.\/)+(src\/.+)$/.exec(source) ?? [];
          return path === undefined ? null : { id: at(`dist/${path}`), external: 'absolute' };
        },
      },
    ],
  });
  await bundle.write({ file, format: 'esm' });
  await bundle.close();
  return file;
}
