import { describe, expect, it } from 'vitest';
import { decodeRequest, itemInput } from './request-decoding.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const decode = (contentType: string, value: Uint8Array, name = 'body') =>
  decodeRequest({ kind: 'raw', headers: '', parameters: [{ name, contentType, value }] });

describe('decodeRequest', () => {
  it.each<[string, string, unknown]>([
    ['application/json', '{"a":[1,null]}', { a: [1, null] }],
    ['application/json', '0', 0],
    ['application/json', '{bad json', bytes('{bad json')],
    ['application/json', '\ufeff{"a":1}', bytes('\ufeff{"a":1}')],
    ['application/json', '', bytes('')],
    ['APPLICATION/JSON', '{"a":1}', bytes('{"a":1}')],
    ['application/json; charset=utf-8', '{"a":1}', bytes('{"a":1}')],
    ['text/plain', 'hü€😀', 'hü€😀'],
    ['text/html', '<p>x</p>', '<p>x</p>'],
    ['TEXT/HTML', '<p>x</p>', bytes('<p>x</p>')],
    ['', 'field', bytes('field')],
    ['image/png', 'x', bytes('x')],
  ])('decodes %s %j', (contentType, text, value) => {
    expect(decode(contentType, bytes(text))).toEqual({ body: value });
  });

  it.each(['application/json', 'text/plain'])('leaves %s as it came when told so', (contentType) => {
    const value = bytes('{"a":1}');
    const parameters = [{ name: 'body', contentType, value }];
    expect(decodeRequest({ kind: 'raw', headers: '', parameters }, false)).toEqual({ body: value });
  });

  it('leaves text that is no UTF-8 as bytes', () => {
    const value = new Uint8Array([0xff, 0xfe]);
    expect(decode('text/plain', value)['body']).toBe(value);
  });

  it('takes the last of a repeated name', () => {
    const parameters = ['first', 'second'].map((text) => ({
      name: 'data',
      contentType: 'text/plain',
      value: bytes(text),
    }));
    expect(decodeRequest({ kind: 'raw', headers: '', parameters })).toEqual({ data: 'second' });
  });

  it('keeps a field called __proto__ a field', () => {
    const request = decode('application/json', bytes('{"x":1}'), '__proto__');
    expect([Object.keys(request), itemInput(request)]).toEqual([['__proto__'], request]);
  });
});

describe('itemInput', () => {
  it.each([
    [{ data: 1, body: 2 }, 1],
    [{ body: 0 }, 0],
    [{ data: null, body: 'b' }, 'b'],
    [
      { a: 1, b: 2 },
      { a: 1, b: 2 },
    ],
  ])('of %j is %j', (request, input) => {
    expect(itemInput(request)).toEqual(input);
  });
});
