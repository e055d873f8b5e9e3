import type { LoggerService } from '@nestjs/common';
import {
  InferenceObserver,
  messageOf,
  type AnswerTimings,
  type ErrorCode,
  type HandlerMetric,
  type HookTimings,
  type MarlineError,
  type ModelRef,
  type RequestTimings,
  type RunTimings,
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
export class LoggingObserver extends InferenceObserver {
  constructor(
    private readonly next: InferenceObserver,
    private readonly logger: LoggerService,
  ) {
    super();
  }

  override requestReceived(ref: ModelRef, requestId: string, asked: string | undefined): void {
    this.next.requestReceived(ref, requestId, asked);
  }

  override requestAnswered(
    ref: ModelRef,
    requestId: string,
    timings: AnswerTimings,
    asked: string | undefined,
  ): void {
    this.next.requestAnswered(ref, requestId, timings, asked);
  }

  override batchRan(ref: ModelRef, timings: RunTimings): void {
    this.next.batchRan(ref, timings);
  }

  override hooksRan(ref: ModelRef, durationMs: number, timings: HookTimings): void {
    this.next.hooksRan(ref, durationMs, timings);
  }

  override requestQueued(ref: ModelRef, requestId: string): void {
    this.next.requestQueued(ref, requestId);
  }

  override requestFinished(ref: ModelRef, requestId: string, timings: RequestTimings): void {
    this.next.requestFinished(ref, requestId, timings);
  }

  override requestFailed(ref: ModelRef, requestId: string, error: MarlineError): void {
    if (error.status >= 500 && !OVERLOAD.has(error.code))
      this.logger.error(`${nameOf(ref)} request ${requestId}: ${withCause(error)}`);
    this.next.requestFailed(ref, requestId, error);
  }

  override runWasted(ref: ModelRef, requestId: string): void {
    this.next.runWasted(ref, requestId);
  }

  override workerChanged(ref: ModelRef, workerId: number, state: string, error?: MarlineError): void {
    if (error !== undefined)
      this.logger.error(`${nameOf(ref)} worker ${workerId} is ${state}: ${withCause(error)}`);
    this.next.workerChanged(ref, workerId, state, error);
  }

  override workerLogged(
    ref: ModelRef,
    workerId: number,
    level: 'log' | 'warn' | 'error',
    text: string,
  ): void {
    this.logger[level](`${nameOf(ref)} worker ${workerId}: ${text}`);
    this.next.workerLogged(ref, workerId, level, text);
  }

  override handlerMetric(ref: ModelRef, metric: HandlerMetric): void {
    this.next.handlerMetric(ref, metric);
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
