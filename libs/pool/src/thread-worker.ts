import {
  MarlineError,
  decodeError,
  systemClock,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
} from '#libs/common';
import { recycle } from './buffer-pool.js';
import type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from './pool-worker.js';
import type { FromWorker, RunEvent } from './protocol.js';
import { RunningBatch } from './running-batch.js';
import { Thread, type ThreadOptions } from './thread.js';

/** How often a thread that is in native code is looked at again. */
const GATE_POLL_MS = 10;
/** How long the release of a model may take before the thread is ended from outside. */
const RELEASE_LIMIT_MS = 10_000;
/** How long a thread may live after its model is released: timers and sockets of a handler would keep it for ever. */
const LINGER_LIMIT_MS = 250;

/** How a {@link ThreadWorker} is made. */
export interface ThreadWorkerOptions extends ThreadOptions {
  readonly id: number;
  readonly events: WorkerEvents;
  /** Milliseconds that loading may take; 0 is no limit. */
  readonly startTimeoutMs: number;
  readonly clock?: Clock;
}

/**
 * A worker thread behind the pool's interface (docs/decisions/0001). It is ended from outside only when the shared flag tells
 * that no native code runs in it; there is no `kill`.
 *
 * A thread that ends by itself fails its items with `WORKER_DIED`, or `OUT_OF_RESOURCES` when its heap was full; the
 * cause is kept. Output to stdout and stderr goes where the process's goes.
 */
export class ThreadWorker<Model, Info> implements PoolWorker<Model, Info> {
  readonly id: number;
  readonly startedAt = Date.now();
  readonly pid = process.pid;
  readonly #options: ThreadWorkerOptions;
  readonly #clock: Clock;
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #state: WorkerState = 'created';
  #thread: Thread<Model, Info> | undefined;
  #batch: RunningBatch | undefined;
  #settleStart: (outcome: StartOutcome<Info>) => void = () => {};
  #finishRun: () => void = () => {};
  /** The one timer that runs: the start's limit, the release's limit or the next look at the gate. */
  #cancelTimer: () => void = () => {};

  constructor(options: ThreadWorkerOptions) {
    this.id = options.id;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get state(): WorkerState {
    return this.#state;
  }

  start(model: Model): Promise<StartOutcome<Info>> {
    if (this.#state !== 'created') {
      const reason = `Worker ${this.id} was started already: make a new worker for every start.`;
      return Promise.resolve({ kind: 'permanent', error: new MarlineError('INTERNAL', { reason }) });
    }
    return new Promise((resolve) => {
      this.#settleStart = resolve;
      this.#state = 'starting';
      this.#limitStart();
      let kind: 'transient' | 'permanent' = 'transient';
      try {
        this.#thread = new Thread<Model, Info>(
          { name: `worker-${this.id}`, ...this.#options },
          { message: (message) => this.#receive(message), exited: (error) => this.#exited(error) },
        );
        // A model that cannot be cloned will not be clonable next time.
        kind = 'permanent';
        this.#thread.send({ type: 'start', model });
      } catch (error) {
        resolve({ kind, error: toMarlineError(error) });
        this.#endFromOutside('stopping');
      }
    });
  }

  #limitStart(): void {
    const { startTimeoutMs: timeoutMs } = this.#options;
    if (timeoutMs === 0) return;
    this.#after(
      timeoutMs,
      () => void this.quarantine(new MarlineError('WORKER_START_TIMEOUT', { timeoutMs })),
    );
  }

  #receive(message: FromWorker<Info>): void {
    switch (message.type) {
      case 'ready':
        if (this.#state !== 'starting') return;
        this.#state = 'idle';
        this.#cancelTimer();
        this.#settleStart({ kind: 'ready', info: message.info });
        break;
      case 'failed':
        if (this.#state !== 'starting') return;
        this.#state = 'stopping';
        this.#endAfter(LINGER_LIMIT_MS);
        this.#settleStart({
          kind: message.permanent ? 'permanent' : 'transient',
          error: decodeError(message.error),
        });
        break;
      case 'events':
        for (const event of message.events) this.#receiveEvent(event);
        break;
      case 'closed':
        if (this.#state === 'stopping') this.#endAfter(LINGER_LIMIT_MS);
        break;
    }
  }

  #receiveEvent(event: RunEvent): void {
    switch (event.type) {
      case 'metric':
        this.#options.events.metric(event.metric);
        break;
      case 'log':
        this.#options.events.log(event.level, event.text);
        break;
      case 'ran':
        this.#batch?.ran(event.items, event.durationMs);
        break;
      case 'done':
        for (const buffer of event.spent) recycle(buffer);
        this.#runDone();
        break;
      case 'chunk':
      case 'result':
      case 'error':
        this.#batch?.deliver(event);
        break;
    }
  }

  run(items: readonly BatchItem[], sink: BatchSink): Promise<void> {
    const batch = new RunningBatch(items, sink, (message) => this.#thread?.send(message));
    if (this.#state !== 'idle') {
      const reason = `Worker ${this.id} was given a batch while it was ${this.#state}.`;
      batch.failRest(new MarlineError('INTERNAL', { reason }));
      return Promise.resolve();
    }
    this.#state = 'busy';
    this.#batch = batch;
    const finished = new Promise<void>((resolve) => {
      this.#finishRun = resolve;
    });
    const transfer = new Set<ArrayBuffer>();
    const packed = batch.pack(items, transfer);
    try {
      if (packed.length > 0) this.#thread?.sendBatch(packed, transfer);
      else this.#runDone();
    } catch (error) {
      batch.failRest(toMarlineError(error, 'INVALID_INPUT'));
      this.#runDone();
    }
    return finished;
  }

  #runDone(): void {
    this.#batch = undefined;
    switch (this.#state) {
      case 'busy':
        this.#state = 'idle';
        this.#finishRun();
        break;
      case 'stopping':
        this.#finishRun();
        this.#endAfter(RELEASE_LIMIT_MS);
        break;
      case 'quarantined':
        // The run is over when the thread has ended.
        break;
      case 'created':
      case 'starting':
      case 'idle':
      case 'stopped':
        break;
    }
  }

  cancel(itemId: string): void {
    this.#batch?.cancel(itemId);
  }

  quarantine(error: MarlineError): Promise<void> {
    if (this.#state !== 'quarantined' && this.#state !== 'stopped') {
      this.#endFromOutside('quarantined');
      this.#settleStart({ kind: 'transient', error });
      this.#batch?.failRest(error);
    }
    return this.#ended;
  }

  stop(): Promise<void> {
    switch (this.#state) {
      case 'created':
      case 'starting':
        // Nothing is being served: the thread need not finish its load.
        this.#endFromOutside('stopping');
        this.#settleStart({ kind: 'transient', error: new MarlineError('SHUTTING_DOWN') });
        break;
      case 'idle':
        this.#state = 'stopping';
        this.#thread?.send({ type: 'stop' });
        this.#endAfter(RELEASE_LIMIT_MS);
        break;
      case 'busy':
        this.#state = 'stopping';
        this.#thread?.send({ type: 'stop' });
        break;
      case 'quarantined':
      case 'stopping':
      case 'stopped':
        break;
    }
    return this.#ended;
  }

  #endAfter(limitMs: number): void {
    this.#after(limitMs, () => this.#terminate());
  }

  #endFromOutside(state: 'quarantined' | 'stopping'): void {
    this.#state = state;
    if (this.#thread === undefined) this.#exited(new MarlineError('SHUTTING_DOWN'));
    else this.#terminate();
  }

  #terminate(): void {
    this.#cancelTimer();
    if (this.#thread?.tryTerminate() === false) this.#after(GATE_POLL_MS, () => this.#terminate());
  }

  #exited(error: MarlineError): void {
    const before = this.#state;
    this.#state = 'stopped';
    this.#cancelTimer();
    this.#settleStart({ kind: 'transient', error });
    this.#batch?.failRest(error);
    this.#batch = undefined;
    this.#finishRun();
    this.#resolveEnded();
    if (before === 'idle' || before === 'busy') this.#options.events.exited(error);
  }

  #after(delayMs: number, callback: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(delayMs, callback);
  }
}
