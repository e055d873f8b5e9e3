import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { collectBody } from '../../libs/inference/src/body-collector.js';

const BODY = Buffer.alloc(600_000, 'body ');

/** What a server collects of one request with {@link BODY}; `watch` sees the request first. */
async function collected(watch: (request: IncomingMessage) => void): Promise<Buffer> {
  let body = Buffer.alloc(0);
  const collect = async (request: IncomingMessage, response: ServerResponse) => {
    watch(request);
    body = await collectBody(request, 1e6, BODY.length);
    response.end();
  };
  const server = createServer((request, response) => void collect(request, response));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: BODY });
  } finally {
    server.close();
  }
  return body;
}

it('frees the pieces that a large body came in, once it has them', async () => {
  const pieces: Buffer[] = [];
  const body = await collected((request) => {
    const { push } = request;
    request.push = (piece: Buffer | null) => {
      if (piece !== null) pieces.push(piece);
      return push.call(request, piece);
    };
  });
  expect(body.equals(BODY)).toBe(true);
  const large = pieces.filter(({ buffer }) => buffer.byteLength >= 16 * 1024);
  expect(pieces.length).toBeGreaterThan(2);
  expect(large).toEqual([]);
});

it('leaves the pieces alone when somebody else reads the request, too', async () => {
  const pieces: Buffer[] = [];
  const body = await collected((request) => request.on('data', (piece: Buffer) => pieces.push(piece)));
  expect(body.equals(BODY)).toBe(true);
  expect(Buffer.concat(pieces).equals(BODY)).toBe(true);
});
