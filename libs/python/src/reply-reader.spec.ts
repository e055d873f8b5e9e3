import { describe, expect, it } from 'vitest';
import { ReplyReader, type Reply } from './reply-reader.js';

const LIMITS = { maxBodyBytes: 100, maxPredictions: () => 2 };

/** Numbers are integers of four bytes, texts have their length in front. */
function frame(...fields: (number | string)[]): Buffer {
  return Buffer.concat(
    fields.map((value) => {
      const text = typeof value === 'string' ? Buffer.from(value) : undefined;
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE(text?.length ?? (value as number));
      return Buffer.concat([bytes, text ?? Buffer.alloc(0)]);
    }),
  );
}

const ANSWER = frame(
  200,
  'Prediction success',
  'id-1',
  'text/plain',
  201,
  'Made',
  1,
  'x-own',
  'ä',
  'body',
  -1,
);
const LOADED = frame(200, 'loaded model echo', -1);

function readerOf(limits = LIMITS) {
  const replies: Reply[] = [];
  const reader = new ReplyReader(limits, (reply) => replies.push(reply));
  return { reader, replies };
}

describe('a reply', () => {
  const prediction = {
    id: 'id-1',
    contentType: 'text/plain',
    status: 201,
    reason: 'Made',
    headers: [['x-own', 'ä']],
    body: Buffer.from('body'),
  };

  it('is read with all its fields', () => {
    const { reader, replies } = readerOf();
    reader.push(ANSWER);
    expect(replies).toEqual([{ code: 200, message: 'Prediction success', predictions: [prediction] }]);
  });

  it('is the same in whatever pieces it comes', () => {
    for (const size of [1, 2, 3, 7, 50]) {
      const { reader, replies } = readerOf();
      const stream = Buffer.concat([LOADED, ANSWER, ANSWER]);
      for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size));
      expect(replies.map(({ predictions }) => predictions)).toEqual([[], [prediction], [prediction]]);
    }
  });

  it('may have empty fields and no predictions', () => {
    const { reader, replies } = readerOf();
    reader.push(frame(503, '', 'id', '', 503, '', 0, '', -1));
    reader.push(frame(500, '', -1));
    expect(replies).toMatchObject([
      { code: 503, message: '', predictions: [{ contentType: '', headers: [], body: Buffer.alloc(0) }] },
      { code: 500, predictions: [] },
    ]);
  });

  it('waits, also in the middle of what arrived, until it is wanted', () => {
    const replies: Reply[] = [];
    const reader: ReplyReader = new ReplyReader(LIMITS, (reply) => {
      replies.push(reply);
      reader.pause();
    });
    reader.push(Buffer.concat([LOADED, LOADED, LOADED]));
    expect(replies).toHaveLength(1);
    reader.push(LOADED);
    expect(replies).toHaveLength(1);
    reader.resume();
    expect(replies).toHaveLength(2);
  });
});

describe('what is no reply', () => {
  const start = frame(200, 'ok', 'id', '', 200, '');

  it.each<[string, Buffer, string]>([
    ['garbage instead of a message', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'a message of length'],
    ['a message of negative length', frame(200, -2), 'a message of length -2'],
    ['a message without end', frame(200, 2 ** 31 - 1), 'a message of length 2147483647'],
    ['a request id of negative length', frame(200, 'ok', -5), 'a request id of length -5'],
    ['a content type without end', frame(200, 'ok', 'id', 2 ** 30), 'a content type of length'],
    ['a body above the limit', Buffer.concat([start, frame(0, 101)]), 'a body of length 101'],
    ['a body of negative length', Buffer.concat([start, frame(0, -1)]), 'a body of length -1'],
    ['a million headers', Buffer.concat([start, frame(1_000_000)]), 'a list of headers of length 1000000'],
    ['a negative number of headers', Buffer.concat([start, frame(-1)]), 'a list of headers of length -1'],
    ['a header without end', Buffer.concat([start, frame(1, 2 ** 24)]), 'a header of length'],
    [
      'more predictions than a batch has requests',
      Buffer.concat([
        start,
        frame(0, ''),
        ...Array.from({ length: 2 }, () => frame('id', '', 200, '', 0, '')),
      ]),
      'a reply with more than 2 predictions',
    ],
  ])('is refused: %s', (_what, bytes, said) => {
    const { reader, replies } = readerOf();
    const push = () => reader.push(bytes);
    expect(push).toThrow(expect.objectContaining({ code: 'WORKER_DIED', message: 'Worker died.' }) as Error);
    expect(replies).toEqual([]);
    const cause = thrownBy(() => readerOf().reader.push(bytes)).cause as Error;
    expect(cause.message).toContain(said);
  });

  it('is told before anything is kept for what was announced', () => {
    const { reader } = readerOf({ ...LIMITS, maxBodyBytes: 2 ** 31 });
    const before = process.memoryUsage().arrayBuffers;
    reader.push(Buffer.concat([start, frame(0, 2 ** 31 - 1)]));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });
});

function thrownBy(call: () => void): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('Nothing was thrown.');
}
