import type { FastifyRequest } from 'fastify';
import { MarlineError, type ProtocolInput } from '#libs/common';

const JSON_LENGTH_HEADER = 'inference-header-content-length';

/**
 * A request of the protocol as it came: a worker reads it. Where binary tensors stand behind the JSON, a header says how
 * long the JSON is.
 * @throws MarlineError `INVALID_INPUT` when that header is no length within the body
 */
export function protocolInput({ headers }: Pick<FastifyRequest, 'headers'>, body: Uint8Array): ProtocolInput {
  const text = headers[JSON_LENGTH_HEADER];
  if (text === undefined) return { kind: 'protocol', body };
  const jsonBytes = typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (!(jsonBytes <= body.length)) {
    throw new MarlineError('INVALID_INPUT', {
      reason: `The header Inference-Header-Content-Length is ${JSON.stringify(text).slice(0, 100)}; give the length of the JSON in bytes, at most that of the body (${body.length}).`,
    });
  }
  return { kind: 'protocol', body, jsonBytes };
}
