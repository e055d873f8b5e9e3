import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { collectBody } from './body-collector.js';

const KIB = 1024;
const pieces = (size: number, step: number) =>
  Array.from({ length: Math.ceil(size / step) }, (_, at) =>
    Buffer.alloc(Math.min(step, size - at * step), at % 251),
  );

describe('collectBody', () => {
  it.each([
    ['nothing', 0, 1, NaN],
    ['nothing that was declared', 0, 1, 0],
    ['a byte', 1, 1, 1],
    ['many small pieces without a length', 100 * KIB, 7, NaN],
    ['less than a page', 3000, 1000, 3000],
    ['exactly what was declared', 600 * KIB, 64 * KIB, 600 * KIB],
    ['more than is believed at once', 3000 * KIB, 64 * KIB, 3000 * KIB],
    ['in pieces of odd sizes', 3000 * KIB + 1, 65_521, 3000 * KIB + 1],
    ['less than was declared', 10, 10, 5_000_000],
    ['more than was declared', 5000, 1000, 10],
  ])('takes %s', async (_what, size, step, declared) => {
    const parts = pieces(size, step);
    const body = await collectBody(Readable.from(parts), 4_000_000, declared);
    expect(body.equals(Buffer.concat(parts))).toBe(true);
  });

  it('reads a body of a declared length into one buffer of about that length', async () => {
    const body = await collectBody(Readable.from(pieces(602_112, 65_536)), 1e7, 602_112);
    expect(body.byteOffset).toBe(0);
    expect(body.buffer.byteLength).toBeLessThan(602_112 * 1.25);
  });

  it('sets no memory aside for a length that is only declared', async () => {
    const body = await collectBody(Readable.from([Buffer.alloc(100)]), 1e9, 9e8);
    expect(body.buffer.byteLength).toBeLessThan(64 * KIB);
  });

  it('gives no two bodies the same buffer', async () => {
    const collect = (letter: string) =>
      collectBody(Readable.from([Buffer.alloc(200 * KIB, letter)]), 1e7, 200 * KIB);
    const bodies = await Promise.all(['a', 'b', 'c'].map(collect));
    expect(bodies.map((body) => body.toString('latin1', 0, 3))).toEqual(['aaa', 'bbb', 'ccc']);
    expect(new Set(bodies.map(({ buffer }) => buffer)).size).toBe(3);
  });

  it('refuses what is above the limit, and throws the rest away', async () => {
    const stream = Readable.from(pieces(1000, 100));
    await expect(collectBody(stream, 500, NaN)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    for await (const _rest of stream);
    expect(stream.readableEnded).toBe(true);
  });

  it('is cancelled when the stream breaks or ends without its end', async () => {
    const broken = new Readable({ read() {} });
    const lost = collectBody(broken, 500, 100);
    broken.push(Buffer.alloc(10));
    broken.destroy(new Error('gone'));
    await expect(lost).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });

    const closed = new Readable({ read() {} });
    const left = collectBody(closed, 500, 100);
    closed.destroy();
    await expect(left).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });
  });
});
