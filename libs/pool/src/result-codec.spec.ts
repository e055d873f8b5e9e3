import { describe, expect, it } from 'vitest';
import { MarlineError, type HandlerMetric, type ItemResult } from '#libs/common';
import { PacketReader, PacketWriter } from './packet.js';
import { readError, readMetric, readResult, writeError, writeMetric, writeResult } from './result-codec.js';

function sent(write: (packet: PacketWriter) => void): PacketReader {
  const packet = new PacketWriter(0);
  write(packet);
  const small = new Uint8Array(packet.smallBytes);
  packet.copySmall(small, 0);
  return new PacketReader(structuredClone([0, small, packet.large, ...packet.values.slice(3)]));
}

const plain = { status: 200, reason: '', headers: [] } as const;

describe('a result', () => {
  it.each<ItemResult>([
    { ...plain, output: { kind: 'text', text: '{"a":1}', encoding: 'json' } },
    { ...plain, output: { kind: 'bytes', bytes: new Uint8Array([1, 2]), encoding: 'binary' } },
    { ...plain, output: { kind: 'value', value: { at: new Date(0), list: [1, undefined] } } },
    {
      status: 418,
      reason: 'Teapot',
      headers: [
        ['X-A', '1'],
        ['x-a', '2'],
      ],
      output: { kind: 'tensors', tensors: { y: { dtype: 'int8', shape: [1], data: new Int8Array([-1]) } } },
    },
  ])('comes back as it was: $output.kind', (result) => {
    expect(
      readResult(
        sent((packet) => writeResult(packet, result)),
        true,
      ),
    ).toEqual(result);
  });

  it('whose status or headers are no numbers and texts is still readable', () => {
    const odd = { ...plain, status: '201', reason: null, headers: [['X-Count', 3]] } as unknown as ItemResult;
    const reader = sent((packet) =>
      writeResult(packet, { ...odd, output: { kind: 'text', text: '', encoding: 'text' } }),
    );
    expect(readResult(reader, true)).toMatchObject({
      status: 201,
      reason: 'null',
      headers: [['X-Count', '3']],
    });
  });

  it.each<[string, ItemResult['output']]>([
    ['a function', { kind: 'value', value: () => 0 }],
    [
      'the wrong array',
      { kind: 'tensors', tensors: { y: { dtype: 'float32', shape: [1], data: new Float64Array(1) } } },
    ],
    [
      'no texts',
      { kind: 'tensors', tensors: { y: { dtype: 'string', shape: [1], data: new Uint8Array(1) } } },
    ],
  ])('with %s cannot be written', (_what, output) => {
    expect(() => writeResult(new PacketWriter(0), { ...plain, output })).toThrow(/cloned|needs its data as/);
  });
});

describe('an error', () => {
  it('keeps code, details and the stack of its cause', () => {
    const error = new MarlineError('INVALID_INPUT', { reason: 'why' }, { cause: new Error('because') });
    const read = readError(sent((packet) => writeError(packet, error)));
    expect(read).toMatchObject({ code: 'INVALID_INPUT', message: 'why', details: { reason: 'why' } });
    expect((read.cause as Error).stack).toMatch(/because/);
  });

  it('arrives although its details cannot', () => {
    const error = new MarlineError('INVALID_INPUT', { reason: 'why', act: () => 0 });
    expect(readError(sent((packet) => writeError(packet, error)))).toMatchObject({
      details: { reason: 'why' },
    });
  });
});

describe('a metric', () => {
  it('comes back as it was', () => {
    const metric: HandlerMetric = {
      name: 'a',
      value: 0.5,
      unit: 'ms',
      type: 'gauge',
      dimensions: { Level: 'Model' },
      requestIds: 'r1,r2',
    };
    expect(readMetric(sent((packet) => writeMetric(packet, metric)))).toEqual(metric);
  });

  it('of no known type cannot be written', () => {
    const metric = {
      name: 'a',
      value: 1,
      unit: '',
      type: 'evil',
      dimensions: {},
    } as unknown as HandlerMetric;
    expect(() => writeMetric(new PacketWriter(0), metric)).toThrow(/counter/);
  });
});
