import { MarlineError, type Clock, type InferenceObserver, type ModelRef } from '#libs/common';
import type { HandlerPlan } from '#libs/handler';
import type { Standing } from './batching-policy.js';
import { HostHandler, type HostItem } from './host-handler.js';
import type { ModelLoader } from './model-loader.js';
import type { ModelSettings } from './model-settings.js';
import type { AnswerBounds, PendingAnswer } from './pending-answer.js';
import type { RunQueue } from './run-queue.js';

/** What a host route knows of its model version. */
export interface HostRouteOptions {
  readonly ref: ModelRef;
  readonly clock: Clock;
  readonly observer: InferenceObserver;
  readonly settings: ModelSettings;
  readonly loader: ModelLoader;
  readonly queue: RunQueue;
  readonly readyWorkers: () => number;
  /** Requests of the version that have no answer. */
  readonly pending: () => number;
  /** Resolves when the version is prepared, and this route with it. */
  readonly prepared: () => Promise<void>;
}

/** The way of a version's requests through a handler of the application, which is made when the version is prepared. */
export class HostRoute {
  #handler: HostHandler | undefined;

  constructor(
    private readonly plan: HandlerPlan & { readonly runs: 'host' },
    private readonly options: HostRouteOptions,
  ) {}

  /** Makes the handler. Rejects with what its `initialize` throws. */
  async open(): Promise<void> {
    const { ref, clock, observer, settings, loader, queue, readyWorkers } = this.options;
    const { batchSize, waitsForBatch, maxBatchDelay, jobQueueSize, config } = settings;
    const handler = new HostHandler(await this.plan.create(), {
      setup: { ...loader.setup(null), metric: (metric) => observer.handlerMetric(ref, metric) },
      metadata: loader.metadata,
      queue,
      clock,
      batchSize: () => Math.max(1, batchSize),
      maxBatchDelayMs: waitsForBatch ? Math.max(0, maxBatchDelay) : 0,
      limit: () =>
        config.useJobTicket === true ? readyWorkers() : jobQueueSize + readyWorkers() * loader.batchSize,
      full: () => new MarlineError('QUEUE_FULL', { model: ref.model }),
      hooksRan: (durationMs, timings) => observer.hooksRan(ref, durationMs, timings),
    });
    await handler.initialize();
    this.#handler = handler;
  }

  /** Takes a request, also while the version starts. @throws MarlineError `QUEUE_FULL` */
  submit(item: HostItem, pending: PendingAnswer, bounds: AnswerBounds, standing: Standing): void {
    const bounded = this.#boundedByResponseTimeout(bounds);
    if (this.#handler === undefined) this.#submitWhenPrepared(item, pending, bounded, standing);
    else this.#handler.submit(item, pending, bounded, standing);
  }

  /** While the model starts its requests wait, as they do in the queue of a model whose handler runs in a worker. */
  #submitWhenPrepared(
    item: HostItem,
    pending: PendingAnswer,
    bounds: AnswerBounds,
    standing: Standing,
  ): void {
    const { ref, settings } = this.options;
    if (this.options.pending() > settings.jobQueueSize)
      throw new MarlineError('QUEUE_FULL', { model: ref.model });
    pending.watch(bounds, () => {});
    const submit = () => {
      if (pending.settled) return;
      if (this.#handler === undefined) throw new MarlineError('NO_WORKER', { model: ref.model });
      this.#handler.submit(item, pending, bounds, standing);
    };
    this.options
      .prepared()
      .then(submit)
      .catch(() => pending.error(new MarlineError('NO_WORKER', { model: ref.model })));
  }

  // A worker that overruns is replaced; nothing can end a hook of the host, so its caller is answered instead.
  #boundedByResponseTimeout(bounds: AnswerBounds): AnswerBounds {
    const { clock, settings } = this.options;
    const limitMs = settings.responseTimeout * 1000;
    if (limitMs <= 0 || (bounds.deadlineMs !== undefined && bounds.deadlineMs <= limitMs)) return bounds;
    return { ...bounds, deadlineMs: limitMs, deadlineAt: clock.now() + limitMs };
  }
}
