import { describe, expect, it } from 'vitest';
import { exactNumber, exactText, parseExact } from './exact-json.js';

describe('exact JSON', () => {
  it.each([
    '1.0',
    '-0',
    '1e400',
    '9007199254740993',
    'NaN',
    '-Infinity',
    '"1.0"',
    String.raw`"a\"1\"\\u0000"`,
    'null',
    '{"1":[1.50,true]}',
  ])('has %s as it was written', (text) => expect(exactText(parseExact(` ${text} `))).toBe(text));

  it('gives numbers as their texts, and texts as they are', () => {
    const value = parseExact('[1.0, "1.0", true]') as unknown[];
    expect(value.map(exactNumber)).toEqual(['1.0', '1.0', true]);
  });

  it('refuses what is no JSON', () => expect(() => parseExact('[1,')).toThrow(SyntaxError));
});
