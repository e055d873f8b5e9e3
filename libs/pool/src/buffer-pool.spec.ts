import { describe, expect, it } from 'vitest';
import { isTaken, recycle, takeBuffer } from './buffer-pool.js';

const KIB = 1024;
const MIB = 1024 * KIB;

function move(buffer: ArrayBuffer): ArrayBuffer {
  return structuredClone(buffer, { transfer: [buffer] });
}

/** Takes what earlier tests gave back. */
function drain(): void {
  for (let size = 64 * KIB; size <= 16 * MIB; size = Math.ceil(size * 1.18)) {
    for (let i = 0; i < 8; i += 1) takeBuffer(size);
  }
}

describe('the pool of buffers', () => {
  it('gives small and enormous buffers their exact size, and no buffer of its own', () => {
    for (const size of [0, 1, 64 * KIB - 1, 16 * MIB + 1]) {
      const buffer = takeBuffer(size);
      expect([buffer.byteLength, isTaken(buffer)]).toEqual([size, false]);
    }
  });

  it('is at most a quarter larger than what was asked for', () => {
    for (let size = 64 * KIB; size < 16 * MIB; size = Math.ceil(size * 1.037)) {
      const { byteLength } = takeBuffer(size);
      expect(byteLength).toBeGreaterThanOrEqual(size);
      expect(byteLength).toBeLessThanOrEqual(size * 1.25);
    }
  });

  it('gives the same buffer out again, only once, and the last one first', () => {
    const [first, second] = [takeBuffer(100 * KIB), takeBuffer(100 * KIB)];
    recycle(first);
    recycle(second);
    recycle(second);
    expect(isTaken(first)).toBe(false);
    expect([takeBuffer(110 * KIB), takeBuffer(100 * KIB)]).toEqual([second, first]);
    expect([isTaken(first), isTaken(second)]).toEqual([true, true]);
    expect(takeBuffer(100 * KIB)).not.toBe(second);
  });

  it('takes a buffer that came back from another thread', () => {
    const there = move(takeBuffer(300 * KIB));
    expect(isTaken(there)).toBe(false);
    const back = move(there);
    recycle(back);
    expect(takeBuffer(300 * KIB)).toBe(back);
  });

  it('ignores what was moved away and what has no size of its own', () => {
    const gone = takeBuffer(200 * KIB);
    move(gone);
    recycle(gone);
    expect(takeBuffer(200 * KIB)).not.toBe(gone);
    const odd = new ArrayBuffer(100 * KIB + 1);
    recycle(odd);
    recycle(new ArrayBuffer(8));
    expect(takeBuffer(100 * KIB + 1)).not.toBe(odd);
  });

  it('keeps no more than its limit of 64 MiB', () => {
    drain();
    const buffers = Array.from({ length: 6 }, () => takeBuffer(16 * MIB));
    for (const buffer of buffers) recycle(buffer);
    const again = new Set(buffers.map(() => takeBuffer(16 * MIB)));
    expect(buffers.filter((buffer) => again.has(buffer))).toHaveLength(4);
  });

  it('refuses a size that is none', () => {
    expect(() => takeBuffer(-1)).toThrow(RangeError);
    expect(() => takeBuffer(Infinity)).toThrow(RangeError);
  });
});
