import { serialize } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { FrameReader, toFrame } from './frames.js';
import { PacketWriter, type PacketReader } from './packet.js';

const allocate = (byteLength: number) => new ArrayBuffer(byteLength);

function packetOf(text: string, ...sizes: number[]): PacketWriter {
  const packet = new PacketWriter(1);
  packet.values.push(text);
  for (const [index, size] of sizes.entries()) packet.bytes(new Uint8Array(size).fill(index + 1));
  return packet;
}

interface FrameParts {
  values?: Buffer;
  lengths?: readonly number[];
  valueBytes?: number;
  smallBytes?: number;
  largeCount?: number;
}

/** A frame as a hostile process could send it: right in all but what is given. */
function frameOf(parts: FrameParts): Buffer {
  const { values = serialize([1, 0, 0]), lengths = [] } = parts;
  const { valueBytes = values.byteLength, smallBytes = 0, largeCount = lengths.length } = parts;
  const numbers = Uint32Array.from([valueBytes, smallBytes, largeCount, ...lengths]);
  return Buffer.concat([Buffer.from(numbers.buffer), values]);
}

/** What a packet of {@link packetOf} says. */
function said(packet: PacketReader): string {
  let text = packet.text();
  while (!packet.done) {
    const bytes = packet.bytes(false);
    text += ` ${bytes.byteLength}x${bytes.every((byte) => byte === bytes[0]) ? bytes[0] : '?'}`;
  }
  return text;
}

const PACKETS = [
  packetOf('empty'),
  packetOf('small', 5, 1300),
  packetOf('large', 600_000),
  packetOf('both', 7, 40_000, 100_000, 3),
  packetOf('x'.repeat(200_000)),
  packetOf('last', 33_000),
];
const SAID = [
  'empty',
  'small 5x1 1300x2',
  'large 600000x1',
  'both 7x1 40000x2 100000x3 3x4',
  'x'.repeat(200_000),
  'last 33000x1',
];
const STREAM = Buffer.concat(PACKETS.flatMap((packet) => toFrame(packet)));

describe('frames', () => {
  it.each([1, 11, 4096, 65_536, STREAM.byteLength])('bring every packet in pieces of %i bytes', (size) => {
    const received: string[] = [];
    const reader = new FrameReader((packet) => received.push(said(packet)), allocate);
    // A byte at a time would take minutes for all of it.
    const end = size === 1 ? 3000 : STREAM.byteLength;
    for (let at = 0; at < end; at += size) reader.push(STREAM.subarray(at, Math.min(at + size, end)));
    expect(received).toEqual(size === 1 ? SAID.slice(0, 2) : SAID);
  });

  it('can be read straight to where they stay', () => {
    const received: string[] = [];
    const reader = new FrameReader((packet) => received.push(said(packet)), allocate);
    for (let at = 0; at < STREAM.byteLength;) {
      const target = reader.target();
      const count = Math.min(target.byteLength, STREAM.byteLength - at, 208_000);
      target.set(STREAM.subarray(at, at + count));
      at += count;
      reader.filled(count);
    }
    expect(received).toEqual(SAID);
  });

  it.each([
    ['values without end', frameOf({ valueBytes: 0xffffffff })],
    ['small bytes without end', frameOf({ smallBytes: 0xffffffff })],
    ['parts without end', frameOf({ largeCount: 0xffffffff })],
    ['more parts than allowed', frameOf({ largeCount: 70_000 })],
    ['large bytes without end', frameOf({ lengths: [0xffffffff] })],
    ['large parts that are too much together', frameOf({ lengths: [2 ** 29, 2 ** 29, 1] })],
    ['an empty large part', frameOf({ lengths: [0] })],
    ['values that cannot be read', frameOf({ values: Buffer.from('no values') })],
    ['values that are no list', frameOf({ values: serialize({}) })],
  ])('that announce %s are refused before anything is allocated', (_what, frame) => {
    const refuse = () => {
      throw new Error('allocated');
    };
    const reader = new FrameReader(refuse, refuse);
    expect(() => reader.push(frame)).toThrow(/announces|too many|deserialize|no values/i);
  });

  it('that are too large for the other side are not made', () => {
    const packet = new PacketWriter(1);
    for (let part = 0; part < 65_537; part += 1) packet.large.push(new Uint8Array(1));
    expect(() => toFrame(packet)).toThrow(RangeError);
  });
});
