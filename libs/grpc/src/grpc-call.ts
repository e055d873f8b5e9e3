import type { Metadata } from '@grpc/grpc-js';
import type { ExecutionContext } from '@nestjs/common';
import { MarlineError } from '#libs/common';
import type { PredictionRequest } from '#libs/inference';

/** What all kinds of calls of grpc-js have that a door needs. */
export interface GrpcCall {
  readonly cancelled: boolean;
  /** When the client stops waiting; infinite when it did not say. */
  getDeadline(): Date | number;
  readonly metadata: Metadata;
  /** Sends what the client gets before its answer; once, at most. */
  sendMetadata(metadata: Metadata): void;
  /** `/package.Service/Method` */
  getPath(): string;
  on(event: 'cancelled', listener: () => void): unknown;
}

/**
 * By when the client of a call wants its answer, but no later than the model's `clientTimeoutInMills`, and whether it is still there.
 * @throws MarlineError `DEADLINE_EXCEEDED` when no time is left
 */
export function boundsOf(
  call: Pick<GrpcCall, 'cancelled' | 'getDeadline' | 'on'>,
  clientTimeoutInMills: number,
): Pick<PredictionRequest, 'deadlineMs' | 'signal'> {
  const leftMs = Math.ceil(Number(call.getDeadline()) - Date.now());
  if (leftMs < 1) throw new MarlineError('DEADLINE_EXCEEDED', { deadlineMs: 0 });
  const deadlineMs = Math.min(leftMs, clientTimeoutInMills > 0 ? clientTimeoutInMills : Infinity);
  return { deadlineMs: deadlineMs === Infinity ? undefined : deadlineMs, signal: goneSignal(call) };
}

/** One for each call, because a stream may have any number of requests. */
const signals = new WeakMap<object, AbortSignal>();

/** Aborted when the client cancels the call, loses its connection or has waited long enough. */
export function goneSignal(call: Pick<GrpcCall, 'cancelled' | 'on'>): AbortSignal {
  const known = signals.get(call);
  if (known !== undefined) return known;
  const gone = new AbortController();
  if (call.cancelled) gone.abort();
  else call.on('cancelled', () => gone.abort());
  signals.set(call, gone.signal);
  return gone.signal;
}

/**
 * What a client sent beside its message, for guards; `undefined` when the context is none of gRPC.
 * @example metadataOf(context)?.get('authorization')
 * @publicApi
 */
export function metadataOf(context: Pick<ExecutionContext, 'getArgs'>): Metadata | undefined {
  return callOf(context)?.metadata;
}

/** The call among the arguments of a handler: the last of (message, metadata, call), or the only one where requests are a stream. */
export function callOf(context: Pick<ExecutionContext, 'getArgs'>): GrpcCall | undefined {
  const last: unknown = context.getArgs().findLast((argument) => argument !== undefined);
  return typeof (last as Partial<GrpcCall> | undefined)?.getPath === 'function'
    ? (last as GrpcCall)
    : undefined;
}
