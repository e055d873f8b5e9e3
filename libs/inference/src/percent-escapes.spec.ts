import { describe, expect, it } from 'vitest';
import { assertEscapes } from './percent-escapes.js';

describe('percent escapes', () => {
  it.each(['', '/ping', '/a%20b', '/%C3%bc?x=%25%25'])('lets %j pass', (target) => {
    expect(() => assertEscapes(target)).not.toThrow();
  });

  it.each([
    ['/ping%zz', "invalid hex byte 'zz' at index 6 of '/ping%zz'"],
    ['/a%20%2g', "invalid hex byte '2g' at index 6 of '/a%20%2g'"],
    ['/a%%25', "invalid hex byte '%2' at index 3 of '/a%%25'"],
    ['/echo%', 'unterminated escape sequence at index 5 of: /echo%'],
    ['/echo%4', 'unterminated escape sequence at index 5 of: /echo%4'],
  ])('refuses %j with the words of TorchServe', (target, message) => {
    expect(() => assertEscapes(target)).toThrow(
      expect.objectContaining({ code: 'BROKEN_ESCAPE', status: 403, message }),
    );
  });
});
