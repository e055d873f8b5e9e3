import { connect } from 'node:net';

/** What came back on one connection, byte for byte (as latin1). */
export interface Exchange {
  readonly text: string;
  /** True when the server ended the connection. */
  readonly closed: boolean;
}

/** A response taken apart. */
export interface HttpResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Chunks put together, as UTF-8. */
  readonly body: string;
}

/** The same with its body as it came. */
export interface ReceivedResponse extends HttpResponse {
  readonly bytes: Buffer;
  /** One text per chunk; absent for a body that came in one piece. */
  readonly chunks?: readonly string[];
}

/**
 * Writes bytes to a fresh connection on 127.0.0.1; resolves to the answer when it is complete, or when the server closes
 * the connection, or after `limitMs` with what came until then. After an answer that announces it, the end of the
 * connection is waited for.
 */
export function exchange(
  port: number,
  text: string,
  encoding: BufferEncoding = 'latin1',
  limitMs = 60_000,
): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text, encoding));
    let received = '';
    const finish = (closed: boolean) => {
      clearTimeout(limit);
      socket.destroy();
      resolve({ text: received, closed });
    };
    const limit = setTimeout(() => finish(false), limitMs);
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (isComplete(received, text.startsWith('HEAD '))) finish(false);
    });
    socket.on('close', () => finish(true));
    socket.on('error', (error) => (received === '' ? reject(error) : finish(true)));
  });
}

export function parseResponse(text: string): ReceivedResponse {
  const [head = '', body = ''] = split(withoutContinue(text));
  const [statusLine = '', ...fields] = head.split('\r\n');
  const [, status, reason = ''] = /^\S+ (\d+) ?(.*)$/.exec(statusLine) ?? [];
  const headers = fields.map(
    (field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 2)] as const,
  );
  const isChunked = headers.some(([name, value]) => /^transfer-encoding$/i.test(name) && value === 'chunked');
  const chunks = isChunked ? chunksOf(body) : undefined;
  const bytes = Buffer.from(chunks?.join('') ?? body, 'latin1');
  return {
    status: Number(status),
    reason,
    headers,
    body: bytes.toString(),
    bytes,
    ...(chunks && { chunks: chunks.map((chunk) => Buffer.from(chunk, 'latin1').toString()) }),
  };
}

/** An interim answer is no answer. */
function withoutContinue(text: string): string {
  return text.replace(/^HTTP\/1\.1 100 [^]*?\r\n\r\n/, '');
}

function split(text: string): string[] {
  const end = text.indexOf('\r\n\r\n');
  return end === -1 ? ['', ''] : [text.slice(0, end), text.slice(end + 4)];
}

function chunksOf(body: string): string[] {
  const chunks: string[] = [];
  for (let at = 0; at < body.length;) {
    const lineEnd = body.indexOf('\r\n', at);
    const size = Number.parseInt(body.slice(at, lineEnd), 16);
    if (!(size > 0)) break;
    chunks.push(body.slice(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + size + 4;
  }
  return chunks;
}

function isComplete(text: string, isHead: boolean): boolean {
  const [head = '', body = ''] = split(withoutContinue(text));
  if (head === '' || /^connection: close$/im.test(head)) return false;
  if (isHead || /^HTTP\/1\.1 (204|304) /.test(head)) return true;
  if (/^transfer-encoding: chunked$/im.test(head)) return body.endsWith('0\r\n\r\n');
  return body.length === Number(/^content-length: (\d+)$/im.exec(head)?.[1]);
}
