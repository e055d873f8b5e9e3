import { resolve } from 'node:path';
import { ContentCache } from '#libs/archive';

/** One cache per folder and process: it lets those who ask at once share one build. */
const caches = new Map<string, Promise<ContentCache>>();

/** The cache in a folder, rid of what processes that are gone left there. */
export function contentCache(folder: string): Promise<ContentCache> {
  const path = resolve(folder);
  const open = async () => {
    const cache = new ContentCache(path);
    await cache.sweep();
    return cache;
  };
  const cache = caches.get(path) ?? open();
  caches.set(path, cache);
  cache.catch(() => caches.delete(path));
  return cache;
}
