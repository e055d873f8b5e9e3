import { validateHeaderName, validateHeaderValue } from 'node:http';
import { MarlineError, VERSION, messageOf } from '#libs/common';
import type { Payload } from '../prediction-client.js';
import type { Address } from './connection.js';

/** Where the load goes, as bytes that are ready to be sent. */
export interface LoadTarget {
  readonly url: string;
  readonly method: 'GET' | 'POST';
  readonly address: Address;
  /** Whole requests, head and body, sent in turn. */
  readonly requests: readonly Buffer[];
  /** Bytes of the bodies; empty for GET. */
  readonly bodyBytes: readonly number[];
}

/**
 * Writes the requests: POST with each of the bodies in turn, GET without any.
 * @param headers `Name: value` each; they win over those that would be sent otherwise
 * @throws MarlineError `INVALID_INPUT` for a header that HTTP does not allow, and for one that frames the request
 */
export function loadTarget(url: URL, payloads: readonly Payload[], headers: readonly string[]): LoadTarget {
  const own = headers.map(parseHeader);
  const method = payloads.length === 0 ? 'GET' : 'POST';
  const request = (payload?: Payload): Buffer => {
    const body = Buffer.from(payload?.body ?? '');
    const all = new Map([['host', ['Host', url.host]]]);
    all.set('user-agent', ['User-Agent', `marline-bench/${VERSION}`]);
    if (payload !== undefined) {
      all.set('content-type', ['Content-Type', payload.contentType]);
      all.set('content-length', ['Content-Length', String(body.length)]);
    }
    for (const [name, value] of own) all.set(name.toLowerCase(), [name, value]);
    const head = [...all.values()].map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return Buffer.concat([
      Buffer.from(`${method} ${url.pathname}${url.search} HTTP/1.1\r\n${head}\r\n`, 'latin1'),
      body,
    ]);
  };
  const secure = url.protocol === 'https:';
  return {
    url: url.href,
    method,
    address: {
      secure,
      host: url.hostname.replaceAll(/[[\]]/g, ''),
      port: Number(url.port || (secure ? 443 : 80)),
    },
    requests: method === 'GET' ? [request()] : payloads.map(request),
    bodyBytes: payloads.map(({ body }) => Buffer.byteLength(body)),
  };
}

function parseHeader(text: string): [name: string, value: string] {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(0, colon)).trim();
  const value = text.slice(colon + 1).trim();
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
  } catch (error) {
    throw refused(text, `write it as "Name: value" (${messageOf(error)}).`);
  }
  if (/^(?:content-length|transfer-encoding|connection|expect|upgrade)$/i.test(name))
    throw refused(text, 'it decides how requests are framed, which is up to the load generator.');
  return [name, value];
}

function refused(text: string, why: string): MarlineError {
  return new MarlineError('INVALID_INPUT', {
    reason: `--header ${JSON.stringify(text.slice(0, 80))}: ${why}`,
  });
}
