import {
  ForwardingObserver,
  type AnswerTimings,
  type HandlerMetric,
  type HookTimings,
  type InferenceObserver,
  type MarlineError,
  type ModelRef,
  type RequestTimings,
  type RunTimings,
} from '#libs/common';
import type { MarlineMetrics } from './marline-metrics.js';
import type { Series } from './metric-family.js';
import type { TorchServeMetrics } from './torchserve-metrics.js';
import type { VersionMetersByRef } from './version-meters.js';

const HOST = ['Host'];
const MICROSECONDS = 1000;

/** Turns what happens into values of TorchServe's metrics and of Marline's own, and passes every event on. */
export class MeteringObserver extends ForwardingObserver {
  readonly #queueTime: Series;
  readonly #workerThreadTime: Series;
  /** When each of the workers that load now began to. */
  readonly #loadingSince = new Map<number, number>();

  constructor(
    next: InferenceObserver,
    private readonly torchServe: TorchServeMetrics,
    private readonly marline: MarlineMetrics,
    private readonly versions: VersionMetersByRef,
  ) {
    super(next);
    this.#queueTime = torchServe.server('QueueTime', HOST);
    this.#workerThreadTime = torchServe.server('WorkerThreadTime', HOST);
  }

  override requestReceived(ref: ModelRef, requestId: string, asked: string | undefined): void {
    const meters = this.versions.of(ref);
    if (meters !== null) {
      meters.own.requests.record(1);
      (asked === undefined ? meters.unnamed : meters.named).requests.record(1);
    }
    super.requestReceived(ref, requestId, asked);
  }

  override requestAnswered(
    ref: ModelRef,
    requestId: string,
    timings: AnswerTimings,
    asked: string | undefined,
  ): void {
    const { queueMs, totalMs } = timings;
    const meters = this.versions.of(ref);
    if (meters !== null) {
      meters.own.total.record(totalMs / 1000);
      const { latency, queue } = asked === undefined ? meters.unnamed : meters.named;
      latency.record(totalMs * MICROSECONDS);
      queue.record(queueMs * MICROSECONDS);
    }
    this.#queueTime.record(Math.floor(queueMs));
    super.requestAnswered(ref, requestId, timings, asked);
  }

  override requestFinished(ref: ModelRef, requestId: string, timings: RequestTimings): void {
    const meters = this.versions.of(ref);
    meters?.own.queue.record(timings.queueMs / 1000);
    meters?.own.batchWait.record(timings.batchWaitMs / 1000);
    super.requestFinished(ref, requestId, timings);
  }

  override requestFailed(ref: ModelRef, requestId: string, error: MarlineError): void {
    if (this.versions.of(ref) !== null) this.marline.failed(ref, error.code);
    super.requestFailed(ref, requestId, error);
  }

  override runWasted(ref: ModelRef, requestId: string): void {
    this.versions.of(ref)?.own.wasted.record(1);
    super.runWasted(ref, requestId);
  }

  override batchRan(ref: ModelRef, timings: RunTimings): void {
    const meters = this.versions.of(ref);
    meters?.own.run.record(timings.durationMs / 1000);
    meters?.own.batchSize.record(timings.items);
    this.#workerThreadTime.record(Math.round(timings.handOverMs));
    super.batchRan(ref, timings);
  }

  override hooksRan(ref: ModelRef, durationMs: number, timings?: HookTimings): void {
    const meters = this.versions.of(ref);
    if (timings !== undefined) {
      meters?.own.preprocess.record(timings.preMs / 1000);
      meters?.own.postprocess.record(timings.postMs / 1000);
      // In TorchServe the metric of the base class, which a handler with a `handle` of its own passes by.
      meters?.handlerTime.record(durationMs);
    }
    meters?.predictionTime.record(durationMs);
    super.hooksRan(ref, durationMs, timings);
  }

  override workerChanged(ref: ModelRef, workerId: number, state: string, error?: MarlineError): void {
    this.#workerChanged(`W-${workerId}-${ref.model}_${ref.version}`, workerId, state);
    super.workerChanged(ref, workerId, state, error);
  }

  override handlerMetric(ref: ModelRef, metric: HandlerMetric): void {
    this.torchServe.handler(metric);
    super.handlerMetric(ref, metric);
  }

  #workerChanged(workerName: string, workerId: number, state: string): void {
    const startedAt = this.#loadingSince.get(workerId);
    if (state === 'starting') {
      this.#loadingSince.set(workerId, performance.now());
    } else if (state === 'idle' && startedAt !== undefined) {
      const loadMs = Math.round(performance.now() - startedAt);
      this.torchServe.server('WorkerLoadTime', [workerName, ...HOST]).record(loadMs);
      // TorchServe takes loading for a first job; ours needs no thread of the server meanwhile.
      this.#workerThreadTime.record(0);
    }
    if (state !== 'starting') this.#loadingSince.delete(workerId);
    // Ids count on with every worker that comes and goes.
    if (state === 'stopped') this.torchServe.forget('WorkerLoadTime', [workerName]);
  }
}
