import { describe, expect, it } from 'vitest';
import { DEFAULT_ARCHIVE_LIMITS } from './archive-limits.js';
import { EntryNames } from './entry-names.js';

const names = () => new EntryNames({ ...DEFAULT_ARCHIVE_LIMITS, depth: 3, pathBytes: 300 });
const unsafe = expect.objectContaining({ code: 'ARCHIVE_UNSAFE', status: 500 });

describe('EntryNames', () => {
  it.each([
    ['a.txt', 'a.txt'],
    ['./a/b', 'a/b'],
    ['a//b', 'a/b'],
    ['..a/b..c', '..a/b..c'],
    ['ünï/文.bin', 'ünï/文.bin'],
    ['.hidden', '.hidden'],
  ])('takes %j as %j', (name, path) => {
    expect(names().file(name)).toBe(path);
  });

  it.each([
    ['../x'],
    ['a/../../x'],
    ['a/..'],
    ['/x'],
    ['//x'],
    ['..\\x'],
    ['a\\b'],
    ['\\\\host\\x'],
    ['C:\\x'],
    ['c:x'],
    ['a\0b'],
    ['a\nb'],
    ['a.'],
    ['a /b'],
    ['a/b '],
    ['...'],
    [''],
    ['.'],
    ['a/b/c/d/e'],
    ['x'.repeat(256)],
    [`${'x'.repeat(200)}/${'y'.repeat(200)}`],
  ])('refuses %j', (name) => {
    expect(() => names().file(name)).toThrow(unsafe);
  });

  it.each([
    ['a', 'a'],
    ['a', 'A'],
    ['é', 'é'],
    ['a/x', 'A/y'],
    ['a', 'a/b'],
    ['a/b', 'a'],
  ])('refuses %j and %j in one archive', (first, second) => {
    const both = names();
    both.file(first);
    expect(() => both.file(second)).toThrow(unsafe);
  });

  it('takes a folder twice, but not as a file', () => {
    const tree = names();
    expect([tree.folder('a/'), tree.folder('a'), tree.file('a/b'), tree.folder('./')]).toEqual([
      'a',
      'a',
      'a/b',
      '',
    ]);
    expect(() => tree.file('a')).toThrow(unsafe);
  });

  it('shows a name escaped and shortened', () => {
    expect(() => names().file(`\u001b[31m${'x'.repeat(500)}`)).toThrow(
      /^The entry "\\u001b\[31mx{115}…" contains/,
    );
  });
});
