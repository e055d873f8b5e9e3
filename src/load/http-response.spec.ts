import { describe, expect, it } from 'vitest';
import { ResponseParser, ResponseSyntaxError } from './http-response.js';

function read(...parts: readonly string[]) {
  let body = '';
  const parser = new ResponseParser((bytes) => (body += bytes.toString('latin1')));
  const complete = parts.map((part) => parser.feed(Buffer.from(part, 'latin1')));
  return { parser, complete: complete.at(-1), status: parser.status, keepAlive: parser.keepAlive, body };
}

const bytewise = (text: string) =>
  Array.from(Buffer.from(text, 'latin1'), (byte) => String.fromCharCode(byte));

const CHUNKED =
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\nA\r\n, world!!!\r\n0\r\nX-Sum: 1\r\n\r\n';

describe('ResponseParser', () => {
  it.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 200, true, 'hello'],
    ['chunks, their extensions and trailers', CHUNKED, 200, true, 'hello, world!!!'],
    ['no body for 204', 'HTTP/1.1 204 No Content\r\n\r\n', 204, true, ''],
    ['an empty body', 'HTTP/1.1 503 Busy\r\ncontent-length:0\r\n\r\n', 503, true, ''],
    ['no reason phrase', 'HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n', 200, true, ''],
    ['bare newlines', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok', 200, true, 'ok'],
    [
      'an interim answer',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 C\r\nContent-Length: 1\r\n\r\nx',
      201,
      true,
      'x',
    ],
    [
      'connection: close',
      'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx',
      200,
      false,
      'x',
    ],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx', 200, false, 'x'],
    [
      'HTTP/1.0 keep-alive',
      'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx',
      200,
      true,
      'x',
    ],
  ])('reads %s, in one piece and byte by byte', (_name, text, status, keepAlive, body) => {
    const expected = { complete: true, status, keepAlive, body };
    expect(read(text)).toMatchObject(expected);
    expect(read(...bytewise(text))).toMatchObject(expected);
  });

  it('reads a body without a length until the connection ends', () => {
    const { parser, complete, keepAlive, body } = read('HTTP/1.1 200 OK\r\n\r\nhel', 'lo');
    expect({ complete, keepAlive, body }).toEqual({ complete: false, keepAlive: false, body: 'hello' });
    expect(parser.end()).toBe(true);
  });

  it('does not take a truncated answer for a complete one', () => {
    expect(read('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell').parser.end()).toBe(false);
    expect(read(CHUNKED.slice(0, -2)).parser.end()).toBe(false);
    expect(read('HTTP/1.1 200').parser.end()).toBe(false);
  });

  it('reads the next answer after a reset', () => {
    const { parser } = read('HTTP/1.0 500 No\r\nContent-Length: 1\r\n\r\nx');
    parser.reset();
    expect(parser.feed(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))).toBe(true);
    expect([parser.status, parser.keepAlive]).toEqual([200, true]);
  });

  it.each([
    ['another protocol', 'SSH-2.0-OpenSSH_9.2'],
    ['another protocol with lines', '220 mail ESMTP\r\n'],
    ['HTTP/2', 'HTTP/2 200\r\n'],
    ['a status beyond 599', 'HTTP/1.1 600 Odd\r\n'],
    ['a header without a name', 'HTTP/1.1 200 OK\r\nnonsense\r\n'],
    ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n'],
    ['a length beyond all numbers', `HTTP/1.1 200 OK\r\nContent-Length: ${'9'.repeat(40)}\r\n`],
    ['two different lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n'],
    ['an encoding that was not asked for', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n'],
    ['a chunk without a size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n'],
    ['a chunk that is too long', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n'],
    ['more than the answer', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab'],
    ['headers without end', `HTTP/1.1 200 OK\r\n${'X-A: 1\r\n'.repeat(10_000)}`],
    ['a header without end', `HTTP/1.1 200 OK\r\nX-A: ${'1'.repeat(70_000)}`],
    ['trailers without end', `${CHUNKED.slice(0, -2)}${'X-A: 1\r\n'.repeat(10_000)}`],
  ])('refuses %s', (_name, text) => {
    expect(() => read(text)).toThrow(ResponseSyntaxError);
    expect(() => read(...bytewise(text.slice(0, 200)), text.slice(200))).toThrow(ResponseSyntaxError);
  });
});
