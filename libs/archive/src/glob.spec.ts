import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expandGlob, isGlob } from './glob.js';

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'marline-glob-'));
  await mkdir(join(dir, 'sub'));
  for (const name of ['a.txt', 'b.txt', 'b1.txt', '.hidden.txt', 'sub/c.txt', 'x[1].txt'])
    await writeFile(join(dir, name), '');
});

afterAll(() => rm(dir, { recursive: true }));

describe('expandGlob', () => {
  it.each([
    ['*.txt', ['a.txt', 'b.txt', 'b1.txt', 'x[1].txt']],
    ['?.txt', ['a.txt', 'b.txt']],
    ['[!a].txt', ['b.txt']],
    ['[a-b]*.txt', ['a.txt', 'b.txt', 'b1.txt']],
    ['*/c.txt', ['sub/c.txt']],
    ['./sub/*', ['./sub/c.txt']],
    ['.h*', ['.hidden.txt']],
    ['a.txt', ['a.txt']],
    ['a?txt', ['a.txt']],
    ['*.none', []],
    ['none/*', []],
  ])('expands %s', async (pattern, found) => {
    expect(await expandGlob(pattern, dir)).toEqual(found);
  });

  it('expands absolute patterns', async () => {
    expect(await expandGlob(join(dir, 'b?.txt'), '/')).toEqual([join(dir, 'b1.txt')]);
  });

  it('knows a pattern from a path', () => {
    expect(['a.txt', 'a*', 'a?', '[a]', 'a[', ']a['].map(isGlob)).toEqual([
      false,
      true,
      true,
      true,
      false,
      true,
    ]);
  });
});
