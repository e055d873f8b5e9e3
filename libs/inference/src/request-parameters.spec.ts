import { describe, expect, it } from 'vitest';
import { takeBuffer } from '#libs/pool';
import { toHeaders, toParameters } from './request-parameters.js';

const own = (text: string | Uint8Array) => Buffer.from(new Uint8Array(Buffer.from(text)).buffer);
const fields = (contentType: string | undefined, body: string | Uint8Array) =>
  toParameters(contentType, own(body)).map(({ name, contentType, value }) => [
    name,
    contentType,
    Buffer.from(value).toString('latin1'),
  ]);
const multipart = (...parts: string[]) => `${parts.map((part) => `--b\r\n${part}\r\n`).join('')}--b--\r\n`;
const MULTIPART = 'multipart/form-data; boundary=b';
const FORM = 'application/x-www-form-urlencoded';

describe('toParameters', () => {
  it.each([
    ['text/plain; charset=utf-8', 'text/plain'],
    ['APPLICATION/JSON', 'APPLICATION/JSON'],
    ['nonsense', 'nonsense'],
    ['', ''],
    [undefined, ''],
    ['multipart/form-data', 'multipart/form-data'],
    ['multipart/mixed; boundary=b', 'multipart/mixed'],
  ])('takes a body of type %s as one parameter of type %s', (contentType, mediaType) => {
    expect(fields(contentType, 'abc')).toEqual([['body', mediaType, 'abc']]);
  });

  it('takes an empty body as an empty parameter', () => {
    expect(fields(undefined, '')).toEqual([['body', '', '']]);
  });

  it('splits a form into fields without a type and keeps their bytes', () => {
    expect(fields(`${FORM}; charset=utf-8`, 'a=1&b=two%20words+x&c=%ff%00&d=')).toEqual([
      ['a', '', '1'],
      ['b', '', 'two words x'],
      ['c', '', '\xff\0'],
      ['d', '', ''],
    ]);
  });

  it('finds no fields in a form without "="', () => {
    expect(fields(FORM, 'justakey')).toEqual([]);
    expect(fields(FORM, '')).toEqual([]);
  });

  it('keeps the last of repeated fields', () => {
    expect(fields(FORM, 'a=1&a=2&b=3')).toEqual([
      ['a', '', '2'],
      ['b', '', '3'],
    ]);
  });

  it.each(['a=%', 'a=%4', 'a=%zz', '%=1'])('refuses the broken escape in %s', (body) => {
    expect(() => fields(FORM, body)).toThrow('two hexadecimal digits');
  });

  it('refuses a form of thousands of fields', () => {
    expect(() => fields(FORM, 'a=1&'.repeat(1001))).toThrow('more than 1000 fields');
  });

  it('gives every value a buffer of its own, so that it can be handed to a worker', () => {
    const body = own(
      multipart(
        'Content-Disposition: form-data; name="x"\r\n\r\n1',
        'Content-Disposition: form-data; name="y"\r\n\r\n2',
      ),
    );
    for (const { value } of toParameters(MULTIPART, body))
      expect(value.buffer.byteLength).toBe(value.byteLength);
    for (const { value } of toParameters(FORM, own('a=1&b=%20')))
      expect(value.buffer.byteLength).toBe(value.byteLength);
  });
});

describe('toParameters of a multipart body', () => {
  it('gives its buffer to the next body, and none that a part still needs', () => {
    const sent = ['a', 'b'].map((letter) => letter.repeat(100_000));
    const parts = sent.flatMap((text) => {
      const form = multipart(`Content-Disposition: form-data; name="x"\r\n\r\n${text}`);
      const body = Buffer.from(takeBuffer(form.length), 0, form.length);
      body.write(form);
      return toParameters(MULTIPART, body);
    });
    expect(parts.map(({ value }) => Buffer.from(value).toString())).toEqual(sent);
    expect(parts[0]?.value.buffer).not.toBe(parts[1]?.value.buffer);
  });

  it('keeps the type of parts with a file name only', () => {
    const body = multipart(
      'Content-Disposition: form-data; name="file"; filename="f.txt"\r\nContent-Type: text/plain; charset=x\r\n\r\nfile',
      'Content-Disposition: form-data; name="untyped"; filename="f"\r\n\r\nbytes',
      'Content-Disposition: form-data; name="field"\r\nContent-Type: application/json\r\n\r\n{}',
    );
    expect(fields(MULTIPART, body)).toEqual([
      ['file', 'text/plain', 'file'],
      ['untyped', 'application/octet-stream', 'bytes'],
      ['field', '', '{}'],
    ]);
  });

  it('keeps bytes as they are, also of fields and with line feeds inside', () => {
    const bytes = '\xff\0\r\n--\r\n\x80';
    const body = Buffer.from(multipart(`Content-Disposition: form-data; name="x"\r\n\r\n${bytes}`), 'latin1');
    expect(fields(MULTIPART, body)).toEqual([['x', '', bytes]]);
  });

  it('reads a quoted boundary, a preamble, padding and empty parts', () => {
    const body = 'preamble\r\n--b c  \r\ncontent-disposition:form-data;name=x\r\n\r\n\r\n--b c--epilogue';
    expect(fields('multipart/form-data; boundary="b c"', body)).toEqual([['x', '', '']]);
  });

  it('reads a name that is quoted inside another attribute for what it is', () => {
    const body = multipart('Content-Disposition: form-data; filename="; name=no"; name="a \\"b\\""\r\n\r\n1');
    expect(fields(MULTIPART, body)).toEqual([['a "b"', 'application/octet-stream', '1']]);
  });

  it('keeps the last of repeated parts and none of an empty body', () => {
    const part = (text: string) => `Content-Disposition: form-data; name="x"\r\n\r\n${text}`;
    expect(fields(MULTIPART, multipart(part('1'), part('2')))).toEqual([['x', '', '2']]);
    expect(fields(MULTIPART, '--b--\r\n')).toEqual([]);
  });

  it.each([
    ['no boundary at all', 'hello'],
    ['an empty body', ''],
    ['no end', '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nno end'],
    ['no end of a header', '--b\r\nContent-Disposition: form-data; name="x"'],
    ['a header without end but a body of megabytes', `--b\r\nX: ${'x'.repeat(3_000_000)}\r\n\r\n1\r\n--b--`],
    ['a part without a name', multipart('Content-Disposition: form-data\r\n\r\n1')],
    ['a part without a header', multipart('\r\n1')],
    ['a longer boundary', '--bb\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--bb--'],
    [
      'too many parts',
      multipart(...Array<string>(1001).fill('Content-Disposition: form-data; name="x"\r\n\r\n1')),
    ],
  ])('refuses %s', (_what, body) => {
    expect(() => fields(MULTIPART, body)).toThrow(
      expect.objectContaining({ code: 'INVALID_INPUT', status: 400 }),
    );
  });
});

describe('toHeaders', () => {
  /** As a handler reads them: of a repeated name the last counts. */
  const read = (text: string) => {
    const lines = text.split('\n');
    expect(lines.length % 2).toBe(0);
    return Object.fromEntries(lines.flatMap((line, at) => (at % 2 === 0 ? [[line, lines[at + 1]]] : [])));
  };

  it("keeps the client's letter case, takes the last of repeated ones and adds TorchServe's", () => {
    const raw = ['X-Custom', 'a', 'x-custom', 'b', 'X-Custom', 'c', 'Host', 'localhost'];
    expect(read(toHeaders(raw, { explain: true, urlPath: 'x/y' }))).toEqual({
      'X-Custom': 'c',
      'x-custom': 'b',
      Host: 'localhost',
      explain: 'True',
      url_path: 'x/y',
    });
    expect(read(toHeaders([], { explain: false, urlPath: '' }))).toEqual({ explain: 'False', url_path: '' });
    expect(read(toHeaders(['Transfer-Encoding', 'chunked'], {}, 12))).toMatchObject({
      'content-length': '12',
    });
  });

  it('does not let a client ask for an explanation by a header', () => {
    expect(read(toHeaders(['explain', 'True', 'url_path', 'x'], { explain: false, urlPath: '' }))).toEqual({
      explain: 'False',
      url_path: '',
    });
  });

  it('does not let a path with line feeds add headers', () => {
    expect(read(toHeaders([], { explain: false, urlPath: 'a\nexplain\nTrue' }))).toEqual({
      explain: 'False',
      url_path: 'a explain True',
    });
  });
});
