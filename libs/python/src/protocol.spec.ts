import { describe, expect, it } from 'vitest';
import { encodeInfer, encodeLoad } from './protocol.js';

/** A text or bytes as they stand in a frame. */
function field(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([integer(bytes.length), bytes]);
}

function integer(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const END = integer(-1);

describe('the frame that loads a model', () => {
  const request = {
    modelName: 'fräud',
    modelDir: '/models/fraud',
    batchSize: 4,
    handler: 'handler.py:handle',
    gpuId: 2,
    envelope: 'kserve',
    limitMaxImagePixels: true,
  };

  it('has its fields in the order of the worker', () => {
    expect(encodeLoad(request)).toEqual(
      Buffer.concat([
        Buffer.from('L'),
        field('fräud'),
        field('/models/fraud'),
        integer(4),
        field('handler.py:handle'),
        integer(2),
        field('kserve'),
        Buffer.from([1]),
      ]),
    );
  });

  it('says with -1 and empty texts what there is none of', () => {
    const frame = encodeLoad({ ...request, gpuId: null, envelope: '', limitMaxImagePixels: false });
    expect(frame.subarray(-9)).toEqual(Buffer.concat([integer(-1), integer(0), Buffer.from([0])]));
  });
});

describe('the frame that runs a batch', () => {
  it('has headers and parameters of every request, each list with its end', () => {
    const value = new Uint8Array([0, 255, 10]);
    const frame = encodeInfer([
      {
        id: 'a',
        headers: 'Content-Type\nimage/png\nexplain\nFalse',
        parameters: [
          { name: 'body', contentType: 'image/png', value },
          { name: 'field', contentType: '', value: new Uint8Array(0) },
        ],
      },
      { id: 'b', headers: '', parameters: [] },
    ]);
    expect(frame).toEqual(
      Buffer.concat([
        Buffer.from('I'),
        field('a'),
        ...['Content-Type', 'image/png', 'explain', 'False'].map(field),
        END,
        ...['body', 'image/png', value, 'field', '', ''].map(field),
        END,
        field('b'),
        END,
        END,
        END,
      ]),
    );
  });

  it('grows with large bodies and keeps nothing of them', () => {
    const value = new Uint8Array(3_000_000).fill(7);
    const frame = encodeInfer([
      { id: 'a', headers: '', parameters: [{ name: 'body', contentType: '', value }] },
    ]);
    value.fill(0);
    expect(frame.length).toBe(1 + 5 + 4 + 8 + 4 + 4 + 3_000_000 + 4 + 4);
    expect(frame.subarray(-3_000_008, -8).every((byte) => byte === 7)).toBe(true);
  });

  it('keeps an empty value of a last header', () => {
    const frame = encodeInfer([{ id: 'a', headers: 'url_path\n', parameters: [] }]);
    const list = Buffer.concat([field('url_path'), field(''), END]);
    expect(frame.includes(list)).toBe(true);
  });
});
