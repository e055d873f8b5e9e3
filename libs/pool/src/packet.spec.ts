import { describe, expect, it } from 'vitest';
import { takeBuffer } from './buffer-pool.js';
import { PacketReader, PacketWriter } from './packet.js';

/** What arrives at the other side, without a channel. */
function sent(packet: PacketWriter): PacketReader {
  const small = new Uint8Array(packet.smallBytes);
  packet.copySmall(small, 0);
  return new PacketReader([packet.values[0], small, packet.large, ...packet.values.slice(3)]);
}

const LARGE = 100_000;

describe('a packet', () => {
  it('brings values in order, and tells when there is none left', () => {
    const packet = new PacketWriter(7);
    expect(packet.isEmpty).toBe(true);
    packet.values.push(1.5, 'a', 3);
    const reader = sent(packet);
    expect([reader.kind, reader.number(), reader.text(), reader.left, reader.count(3), reader.done]).toEqual([
      7,
      1.5,
      'a',
      1,
      3,
      true,
    ]);
  });

  it('makes numbers and texts of what a handler gave instead of them', () => {
    const packet = new PacketWriter(0);
    packet.text(404);
    packet.number('200');
    expect(() => packet.number(Symbol('x'))).toThrow(TypeError);
    const reader = sent(packet);
    expect([reader.text(), reader.number(), reader.done]).toEqual(['404', 200, true]);
  });

  it('copies small bytes together, each where a view of any type can begin', () => {
    const packet = new PacketWriter(0);
    const pooled = Buffer.from('small');
    packet.bytes(pooled);
    packet.bytes(new Float64Array([1, 2]).subarray(1));
    packet.bytes(new Uint8Array(0));
    expect([packet.smallBytes, packet.large]).toEqual([16, []]);
    const reader = sent(packet);
    const [text, number, none] = [reader.bytes(false), reader.bytes(false), reader.bytes(false)];
    expect(Buffer.from(text).toString()).toBe('small');
    expect(new Float64Array(number.buffer, number.byteOffset, 1)[0]).toBe(2);
    expect([none.byteLength, text.buffer]).toEqual([0, number.buffer]);
  });

  it('gives bytes a buffer of their own when they want one', () => {
    const packet = new PacketWriter(0);
    packet.bytes(Buffer.from('a'));
    packet.bytes(Buffer.from('b'));
    const reader = sent(packet);
    expect([reader.bytes(true).buffer.byteLength, reader.bytes(true).buffer.byteLength]).toEqual([1, 1]);
  });

  it('moves large bytes that own their buffer or lie in one of the pool, and copies others', () => {
    const packet = new PacketWriter(0);
    const own = new Float32Array(LARGE);
    const taken = new Uint8Array(takeBuffer(LARGE), 0, LARGE);
    const part = new Uint8Array(2 * LARGE).subarray(LARGE);
    const shared = new Uint8Array(new SharedArrayBuffer(LARGE));
    for (const view of [own, taken, part, shared]) packet.bytes(view);
    const [first, second, third, fourth] = packet.large.map(({ buffer }) => buffer);
    expect([first, second]).toEqual([own.buffer, taken.buffer]);
    expect([third === part.buffer, fourth instanceof ArrayBuffer]).toEqual([false, true]);
  });

  it('gives back only buffers of the pool, and none that leaves with the packet anyway', () => {
    const packet = new PacketWriter(0);
    const [answered, spent] = [takeBuffer(LARGE), takeBuffer(LARGE)];
    packet.bytes(new Uint8Array(answered, 0, LARGE));
    expect(
      [answered, spent, spent, new ArrayBuffer(LARGE), new ArrayBuffer(0)].map((b) => packet.give(b)),
    ).toEqual([false, true, false, false, false]);
  });

  it('refuses bytes that were moved away before, small or large', () => {
    for (const byteLength of [8, LARGE]) {
      const gone = new Uint8Array(byteLength);
      structuredClone(gone, { transfer: [gone.buffer] });
      expect(() => new PacketWriter(0).bytes(gone)).toThrow(TypeError);
    }
  });

  it('forgets what is rolled back', () => {
    const packet = new PacketWriter(0);
    packet.bytes(Buffer.from('kept'));
    const mark = packet.mark();
    packet.values.push('no');
    packet.bytes(Buffer.from('no'));
    packet.bytes(new Uint8Array(LARGE));
    packet.rollBack(mark);
    packet.bytes(Buffer.from('next'));
    const reader = sent(packet);
    expect([reader.bytes(true), reader.bytes(true)].map(String)).toEqual(
      ['kept', 'next'].map((text) => String(new TextEncoder().encode(text))),
    );
    expect([reader.done, packet.large]).toEqual([true, []]);
  });

  it.each([
    ['a text for a number', ['x'], (reader: PacketReader) => reader.number()],
    ['a number for a text', [1], (reader: PacketReader) => reader.text()],
    ['nothing for a text', [], (reader: PacketReader) => reader.text()],
    ['too large a count', [5], (reader: PacketReader) => reader.count(4)],
    ['a negative count', [-1], (reader: PacketReader) => reader.count(4)],
    ['half a count', [0.5], (reader: PacketReader) => reader.count(4)],
    ['bytes beyond the end', [0, 8, 9], (reader: PacketReader) => reader.bytes(false)],
    ['bytes before the start', [0, -8, 8], (reader: PacketReader) => reader.bytes(false)],
    ['more bytes than there are', [0, 0, 17], (reader: PacketReader) => reader.bytes(false)],
    ['no number of bytes', [0, 0, Number.NaN], (reader: PacketReader) => reader.bytes(false)],
    ['large bytes that are not there', [1, 0, 8], (reader: PacketReader) => reader.bytes(false)],
  ])('refuses %s', (_what, values, read) => {
    const reader = new PacketReader([0, new Uint8Array(16), [], ...values]);
    expect(() => read(reader)).toThrow(/malformed|length|offset/i);
  });
});
