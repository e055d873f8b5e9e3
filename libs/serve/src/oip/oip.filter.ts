import { Catch } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError, type ErrorCode, type Header } from '#libs/common';
import { TorchServeExceptionFilter, sendNativeJson } from '#libs/inference';

const TOO_MANY_REQUESTS = 429;
const OVERLOAD: ReadonlySet<ErrorCode> = new Set(['QUEUE_FULL', 'OVERLOADED', 'SEQUENCE_REFUSED']);

const answeredByTorchServe = new WeakSet<FastifyRequest>();

/** Says whether the errors of a request are TorchServe's own: who asks a handler that answers in TorchServe's ways knows those. */
export function expectTorchServeErrors(request: FastifyRequest, expected: boolean): void {
  if (expected) answeredByTorchServe.add(request);
  else answeredByTorchServe.delete(request);
}

/**
 * Answers our errors as the open inference protocol does, `{ "error": … }`. Overload is 429 with the seconds after which a
 * retry makes sense; 503 would tell load balancers that this server is broken.
 */
@Catch(MarlineError)
export class OipExceptionFilter extends TorchServeExceptionFilter {
  protected override answer(reply: FastifyReply, error: MarlineError): void {
    if (answeredByTorchServe.has(reply.request)) return super.answer(reply, error);
    const overloaded = OVERLOAD.has(error.code);
    sendNativeJson(
      reply,
      overloaded ? TOO_MANY_REQUESTS : error.status,
      { error: error.message },
      overloaded ? [['retry-after', String(secondsOf(error))]] : NO_HEADERS,
    );
  }
}

const NO_HEADERS: readonly Header[] = [];

/** Whole seconds, as HTTP wants them, and never "at once": that would bring the crowd back in the same moment. */
function secondsOf({ details }: MarlineError): number {
  const afterMs = Number(details['retryAfterMs']);
  return Number.isFinite(afterMs) ? Math.max(1, Math.ceil(afterMs / 1000)) : 1;
}
