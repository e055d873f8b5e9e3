import { connect } from 'node:net';

/** What came back on one connection, byte for byte (as latin1). */
export interface Exchange {
  readonly text: string;
  /** True when the server ended the connection. */
  readonly closed: boolean;
}

/** A response taken apart; the body is text in UTF-8, chunks put together. */
export interface HttpResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/**
 * Writes bytes to a fresh connection on 127.0.0.1; resolves to the answer when it is complete, or when the server closes
 * the connection. After an answer that announces it, the end of the connection is waited for.
 */
export function exchange(port: number, text: string, encoding: BufferEncoding = 'latin1'): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text, encoding));
    let received = '';
    const finish = (closed: boolean) => {
      socket.destroy();
      resolve({ text: received, closed });
    };
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (isComplete(received, text.startsWith('HEAD '))) finish(false);
    });
    socket.on('close', () => finish(true));
    socket.on('error', (error) => (received === '' ? reject(error) : finish(true)));
  });
}

export function parseResponse(text: string): HttpResponse {
  const [head = '', body = ''] = split(text);
  const [statusLine = '', ...fields] = head.split('\r\n');
  const [, status, reason = ''] = /^\S+ (\d+) ?(.*)$/.exec(statusLine) ?? [];
  const headers = fields.map(
    (field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 2)] as const,
  );
  const isChunked = headers.some(([name, value]) => /^transfer-encoding$/i.test(name) && value === 'chunked');
  const bytes = Buffer.from(isChunked ? unchunked(body) : body, 'latin1');
  return { status: Number(status), reason, headers, body: bytes.toString() };
}

function split(text: string): string[] {
  const end = text.indexOf('\r\n\r\n');
  return end === -1 ? ['', ''] : [text.slice(0, end), text.slice(end + 4)];
}

function unchunked(body: string): string {
  let text = '';
  for (let at = 0; at < body.length;) {
    const lineEnd = body.indexOf('\r\n', at);
    const size = Number.parseInt(body.slice(at, lineEnd), 16);
    if (!(size > 0)) break;
    text += body.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + size + 4;
  }
  return text;
}

function isComplete(text: string, isHead: boolean): boolean {
  const [head = '', body = ''] = split(text);
  if (head === '' || /^connection: close$/im.test(head)) return false;
  if (isHead) return true;
  if (/^transfer-encoding: chunked$/im.test(head)) return body.endsWith('0\r\n\r\n');
  return body.length === Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
}
