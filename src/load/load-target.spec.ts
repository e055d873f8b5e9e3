import { describe, expect, it } from 'vitest';
import { loadTarget } from './load-target.js';

const url = (text: string) => new URL(text);
const json = { contentType: 'application/json', body: '{"ü":1}' };

describe('loadTarget', () => {
  it('writes whole requests, one for each body', () => {
    const { method, requests, bodyBytes, address } = loadTarget(
      url('http://127.0.0.1:8080/predictions/m?x=1'),
      [json, { contentType: 'image/png', body: Buffer.from('png') }],
      ['X-Deadline: 20', 'content-type: text/plain'],
    );
    expect({ method, bodyBytes, address }).toEqual({
      method: 'POST',
      bodyBytes: [8, 3],
      address: { secure: false, host: '127.0.0.1', port: 8080 },
    });
    const text = requests.map((request) => request.toString());
    expect(text[0]).toMatch(/^POST \/predictions\/m\?x=1 HTTP\/1\.1\r\nHost: 127\.0\.0\.1:8080\r\n/);
    expect(text[0]).toContain(
      '\r\ncontent-type: text/plain\r\nContent-Length: 8\r\nX-Deadline: 20\r\n\r\n{"ü":1}',
    );
    expect(text[1]).toMatch(/Content-Length: 3\r\n[^]*\r\n\r\npng$/);
  });

  it('asks by GET without a body', () => {
    const { method, requests } = loadTarget(url('https://[::1]/ping'), [], []);
    expect(method).toBe('GET');
    expect(requests[0]!.toString()).toMatch(
      /^GET \/ping HTTP\/1\.1\r\nHost: \[::1\]\r\nUser-Agent: [^\r]+\r\n\r\n$/,
    );
  });

  it.each([
    ['https://model.example/x', { secure: true, host: 'model.example', port: 443 }],
    ['http://[::1]/x', { secure: false, host: '::1', port: 80 }],
  ])('finds the address of %s', (text, address) => {
    expect(loadTarget(url(text), [], []).address).toEqual(address);
  });

  it.each([
    'no colon',
    ': value',
    'Bad Name: x',
    'X-A: a\r\nX-B: b',
    'Content-Length: 5',
    'transfer-encoding: chunked',
    'Connection: close',
  ])('refuses the header %j', (header) => {
    expect(() => loadTarget(url('http://h/'), [json], [header])).toThrow(/^--header /);
  });
});
