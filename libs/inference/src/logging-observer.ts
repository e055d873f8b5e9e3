import type { LoggerService } from '@nestjs/common';
import {
  ForwardingObserver,
  messageOf,
  type ErrorCode,
  type InferenceObserver,
  type MarlineError,
  type ModelRef,
} from '#libs/common';

/** What an overload brings by the thousand: it is counted, not logged. */
const OVERLOAD: ReadonlySet<ErrorCode> = new Set([
  'QUEUE_FULL',
  'OVERLOADED',
  'SEQUENCE_REFUSED',
  'NO_WORKER',
  'DEADLINE_EXCEEDED',
]);

/** Logs what an operator must see, with the cause that clients are not told, and passes every event on. */
export class LoggingObserver extends ForwardingObserver {
  constructor(
    next: InferenceObserver,
    private readonly logger: LoggerService,
  ) {
    super(next);
  }

  override requestFailed(ref: ModelRef, requestId: string, error: MarlineError): void {
    if (error.status >= 500 && !OVERLOAD.has(error.code))
      this.logger.error(`${nameOf(ref)} request ${requestId}: ${withCause(error)}`);
    super.requestFailed(ref, requestId, error);
  }

  override workerChanged(ref: ModelRef, workerId: number, state: string, error?: MarlineError): void {
    if (error !== undefined)
      this.logger.error(`${nameOf(ref)} worker ${workerId} is ${state}: ${withCause(error)}`);
    super.workerChanged(ref, workerId, state, error);
  }

  override workerLogged(
    ref: ModelRef,
    workerId: number,
    level: 'log' | 'warn' | 'error',
    text: string,
  ): void {
    this.logger[level](`${nameOf(ref)} worker ${workerId}: ${text}`);
    super.workerLogged(ref, workerId, level, text);
  }
}

function nameOf({ model, version }: ModelRef): string {
  return `Model ${model} ${version}`;
}

function withCause(error: MarlineError): string {
  const { cause } = error;
  if (cause === undefined) return error.message;
  return `${error.message}: ${(cause instanceof Error && cause.stack) || messageOf(cause)}`;
}
