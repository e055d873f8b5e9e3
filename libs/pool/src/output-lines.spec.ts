import { describe, expect, it } from 'vitest';
import { OutputLines } from './output-lines.js';

function linesOf(...chunks: (string | Buffer)[]): string[] {
  const told: string[] = [];
  const lines = new OutputLines((text) => told.push(text));
  for (const chunk of chunks) lines.push(Buffer.from(chunk as string));
  lines.end();
  return told;
}

describe('the output of a process', () => {
  it('is told line by line, however it is cut, and its end is a line too', () => {
    expect(linesOf('one\ntw', 'o\r\n', '\n  \nthr', 'ee')).toEqual(['one', 'two', 'three']);
  });

  it('keeps a character that is cut in two', () => {
    const bytes = Buffer.from('größe\n');
    expect(linesOf(bytes.subarray(0, 3), bytes.subarray(3))).toEqual(['größe']);
  });

  it('keeps the beginning of a line that has no end', () => {
    const told: string[] = [];
    const lines = new OutputLines((text) => told.push(text));
    const chunk = Buffer.alloc(65_536, 'x');
    for (let count = 0; count < 1600; count += 1) lines.push(chunk);
    expect(told).toEqual([]);
    lines.push(Buffer.from('\nnext\n'));
    expect(told).toEqual([`${'x'.repeat(8192)} … and ${1600 * 65_536 - 8192} characters more`, 'next']);
  });
});
