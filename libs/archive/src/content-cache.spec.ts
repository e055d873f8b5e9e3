import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContentCache } from './content-cache.js';

let dir: string;
let cache: ContentCache;
let builds: number;

const build = async (staging: string) => {
  builds += 1;
  await writeFile(join(staging, 'weights'), `build ${builds}`);
};
const leftovers = async () =>
  (
    await Promise.all(['entries', 'staging', 'trash'].map((part) => readdir(join(dir, part)).catch(() => [])))
  ).flat();

beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), 'marline-cache-')), 'cache');
  cache = new ContentCache(dir);
  builds = 0;
});

afterEach(() => rm(join(dir, '..'), { recursive: true, force: true }));

describe('ContentCache', () => {
  it('builds a folder once for all that ask at the same time', async () => {
    const held = await Promise.all([1, 2, 3].map(() => cache.acquire('key', build)));
    expect(builds).toBe(1);
    expect(new Set(held.map((each) => each.dir)).size).toBe(1);
    expect(await readFile(join(held[0]!.dir, 'weights'), 'utf8')).toBe('build 1');
    expect((await stat(held[0]!.dir)).mode & 0o777).toBe(0o700);
  });

  it('shares a folder with another cache of the same place', async () => {
    const first = await cache.acquire('key', build);
    const second = await new ContentCache(dir).acquire('key', build);
    expect([builds, second.dir]).toEqual([1, first.dir]);
    await first.release();
    expect(await readFile(join(second.dir, 'weights'), 'utf8')).toBe('build 1');
    await second.release();
    expect(await leftovers()).toEqual([]);
  });

  it('removes a folder with its last holder, and counts each holder once', async () => {
    const first = await cache.acquire('key', build);
    const second = await cache.acquire('key', build);
    await first.release();
    await first.release();
    expect(await leftovers()).toEqual(['key']);
    await second.release();
    expect(await leftovers()).toEqual([]);
  });

  it('builds anew while the old folder is being removed', async () => {
    for (let round = 1; round <= 20; round += 1) {
      const old = await cache.acquire('key', build);
      const [, fresh] = await Promise.all([old.release(), cache.acquire('key', build)]);
      expect(await readFile(join(fresh.dir, 'weights'), 'utf8')).toMatch(/^build/);
      await fresh.release();
    }
    expect(await leftovers()).toEqual([]);
  });

  it('leaves nothing of a build that fails, and tries again', async () => {
    const failing = () =>
      cache.acquire('key', async (staging) => {
        await build(staging);
        throw new Error('no');
      });
    await expect(Promise.all([failing(), failing()])).rejects.toThrow('no');
    expect(await leftovers()).toEqual([]);
    const held = await cache.acquire('key', build);
    expect(await readdir(held.dir)).toEqual(['weights']);
  });

  it('sweeps nothing that this process holds or builds', async () => {
    const held = await cache.acquire('held', build);
    const building = cache.acquire('building', async (staging) => {
      await new ContentCache(dir).sweep();
      await build(staging);
    });
    expect(await readdir((await building).dir)).toEqual(['weights']);
    expect(await readdir(held.dir)).toEqual(['weights']);
  });

  it.each([[''], ['.'], ['..'], ['a/b'], ['a\0'], ['ü'], ['x'.repeat(201)]])(
    'refuses the key %j',
    async (key) => {
      await expect(cache.acquire(key, build)).rejects.toMatchObject({ code: 'INTERNAL' });
    },
  );

  it('takes long keys of the allowed signs', async () => {
    const held = await cache.acquire('A.b_c-9'.padEnd(200, 'x'), build);
    await held.release();
    expect(await leftovers()).toEqual([]);
  });
});
