import { request as plainRequest, type IncomingHttpHeaders } from 'node:http';
import { request as tlsRequest, type RequestOptions } from 'node:https';

/** An answer, with its head in lower case. */
export interface WebAnswer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends a request of Node's own client: over TLS when there is a `ca` or `protocol: 'https:'`, over a socket with `socketPath`. */
export function webRequest(options: RequestOptions, body: string | Buffer = ''): Promise<WebAnswer> {
  const isSecure = options.ca !== undefined || options.protocol === 'https:';
  const send = isSecure ? tlsRequest : plainRequest;
  return new Promise((resolve, reject) => {
    const request = send({ host: '127.0.0.1', agent: false, ...options }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status, headers } = response;
        resolve({ status, headers, body: Buffer.concat(chunks).toString() });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}
