// Lets Node.js run the TypeScript sources, for programs that vitest does not run.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { transform } from 'rolldown/utils';

const sourceOf = (url) => url.replace(/\.js(?=$|\?)/, '.ts');

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND' || !error.url?.includes('.js')) throw error;
    return next(sourceOf(error.url), context);
  }
}

export async function load(url, context, next) {
  if (!url.startsWith('file:') || url.includes('/node_modules/')) return next(url, context);
  const path = fileURLToPath(url).replace(/\.js$/, (end) => (existsSync(fileURLToPath(url)) ? end : '.ts'));
  if (!path.endsWith('.ts')) return next(url, context);
  const { code, errors } = await transform(path, readFileSync(path, 'utf8'), {
    decorator: { legacy: true, emitDecoratorMetadata: true },
    sourcemap: false,
  });
  if (errors.length > 0) throw new SyntaxError(`${path}: ${errors[0].message}`);
  return { format: 'module', source: code, shortCircuit: true };
}
