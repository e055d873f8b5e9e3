import type { MarlineError } from './errors.js';
import {
  InferenceObserver,
  type AnswerTimings,
  type HandlerMetric,
  type HookTimings,
  type ModelRef,
  type RequestTimings,
  type RunTimings,
} from './observer.js';

/** Passes every event on. Its subclasses look at some of them first. */
export abstract class ForwardingObserver extends InferenceObserver {
  constructor(private readonly next: InferenceObserver) {
    super();
  }

  override get takesOutput(): boolean {
    return this.next.takesOutput;
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

  override requestQueued(ref: ModelRef, requestId: string): void {
    this.next.requestQueued(ref, requestId);
  }

  override requestFinished(ref: ModelRef, requestId: string, timings: RequestTimings): void {
    this.next.requestFinished(ref, requestId, timings);
  }

  override requestFailed(ref: ModelRef, requestId: string, error: MarlineError): void {
    this.next.requestFailed(ref, requestId, error);
  }

  override runWasted(ref: ModelRef, requestId: string): void {
    this.next.runWasted(ref, requestId);
  }

  override batchRan(ref: ModelRef, timings: RunTimings): void {
    this.next.batchRan(ref, timings);
  }

  override hooksRan(ref: ModelRef, durationMs: number, timings?: HookTimings): void {
    this.next.hooksRan(ref, durationMs, timings);
  }

  override workerChanged(ref: ModelRef, workerId: number, state: string, error?: MarlineError): void {
    this.next.workerChanged(ref, workerId, state, error);
  }

  override workerLogged(
    ref: ModelRef,
    workerId: number,
    level: 'log' | 'warn' | 'error',
    text: string,
  ): void {
    this.next.workerLogged(ref, workerId, level, text);
  }

  override handlerMetric(ref: ModelRef, metric: HandlerMetric): void {
    this.next.handlerMetric(ref, metric);
  }
}
