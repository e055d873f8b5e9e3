import {
  MarlineError,
  messageOf,
  systemClock,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
  type HookTimings,
  type ItemResult,
} from '#libs/common';
import { clearTails, recycleTaken } from './buffer-pool.js';
import type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from './pool-worker.js';
import { isPermanent } from './protocol.js';
import type { LoadModel, WorkerEngine, WorkerHost } from './worker-server.js';

/** How an {@link InlineWorker} is made. */
export interface InlineWorkerOptions<Model, Info> {
  readonly id: number;
  readonly events: WorkerEvents;
  readonly load: LoadModel<Model, Info>;
  /** Milliseconds that loading may take; 0 is no limit. */
  readonly startTimeoutMs: number;
  readonly clock?: Clock;
}

/**
 * A worker on the thread that makes it, for models whose run takes less than the way to another thread. While it loads or
 * runs, everything else of the thread waits; and nothing can end a run: what hangs hangs the process.
 */
export class InlineWorker<Model, Info> implements PoolWorker<Model, Info> {
  readonly id: number;
  readonly startedAt = Date.now();
  readonly pid = process.pid;
  readonly #options: InlineWorkerOptions<Model, Info>;
  readonly #clock: Clock;
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #state: WorkerState = 'created';
  #engine: WorkerEngine<Info> | undefined;
  #batch: InlineBatch | undefined;
  #settleStart: (outcome: StartOutcome<Info>) => void = () => {};
  #cancelTimer: () => void = () => {};

  constructor(options: InlineWorkerOptions<Model, Info>) {
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
    this.#state = 'starting';
    const { startTimeoutMs: timeoutMs, load } = this.#options;
    if (timeoutMs > 0) {
      this.#cancelTimer = this.#clock.after(
        timeoutMs,
        () => void this.quarantine(new MarlineError('WORKER_START_TIMEOUT', { timeoutMs })),
      );
    }
    return new Promise((resolve) => {
      this.#settleStart = resolve;
      void this.#loaded(load, model);
    });
  }

  async #loaded(load: LoadModel<Model, Info>, model: Model): Promise<void> {
    let outcome: StartOutcome<Info>;
    try {
      const engine = await load(model, this.#host());
      this.#engine = engine;
      outcome = { kind: 'ready', info: engine.info };
    } catch (error) {
      const own = toMarlineError(error);
      outcome = { kind: isPermanent(own.code) ? 'permanent' : 'transient', error: own };
    }
    this.#cancelTimer();
    if (this.#state !== 'starting') {
      // Given up while it loaded.
      await this.#close();
    } else if (outcome.kind === 'ready') {
      this.#state = 'idle';
      this.#settleStart(outcome);
    } else {
      this.#gone();
      this.#settleStart(outcome);
    }
  }

  #host(): WorkerHost {
    const { events } = this.#options;
    return {
      native: (call) => call(),
      recycle: (buffer) => this.#batch?.recycle(buffer),
      metric: (metric) => events.metric(metric),
      log: (level, text) => events.log(level, text),
    };
  }

  async run(items: readonly BatchItem[], sink: BatchSink): Promise<void> {
    const engine = this.#engine;
    const batch = new InlineBatch(items, sink, (id) => engine?.cancel?.(id));
    if (this.#state !== 'idle' || engine === undefined) {
      const reason = `Worker ${this.id} was given a batch while it was ${this.#state}.`;
      batch.failRest(new MarlineError('INTERNAL', { reason }));
      return;
    }
    this.#state = 'busy';
    this.#batch = batch;
    let failure: unknown = new Error('The worker ended a batch without an answer to this request.');
    try {
      await engine.run(items, batch);
    } catch (error) {
      failure = error;
    }
    this.#batch = undefined;
    const free = this.#state === 'busy';
    if (free) this.#state = 'idle';
    batch.finish(toMarlineError(failure));
    if (!free) await this.#close();
  }

  cancel(itemId: string): void {
    this.#batch?.cancel(itemId);
  }

  quarantine(error: MarlineError): Promise<void> {
    this.#leave('quarantined', error);
    this.#batch?.failRest(error);
    return this.#ended;
  }

  stop(): Promise<void> {
    this.#leave('stopping', new MarlineError('SHUTTING_DOWN'));
    return this.#ended;
  }

  /** Takes no more work. A batch that runs comes to its end first; a load that is under way ends unseen. */
  #leave(state: 'quarantined' | 'stopping', error: MarlineError): void {
    switch (this.#state) {
      case 'created':
      case 'starting':
        this.#gone();
        this.#settleStart({ kind: 'transient', error });
        break;
      case 'idle':
        this.#state = state;
        void this.#close();
        break;
      case 'busy':
      case 'stopping':
        this.#state = state;
        break;
      case 'quarantined':
      case 'stopped':
        break;
    }
  }

  async #close(): Promise<void> {
    try {
      await this.#engine?.close();
    } catch (error) {
      this.#options.events.log('warn', `The model was not released: ${messageOf(error)}`);
    }
    this.#gone();
  }

  #gone(): void {
    this.#state = 'stopped';
    this.#cancelTimer();
    this.#resolveEnded();
  }
}

/** The sink of one batch: settles every item once, and stops items whose reader is gone. */
class InlineBatch implements BatchSink {
  readonly #sink: BatchSink;
  readonly #cancelled: (id: string) => void;
  /** Items without an answer; false when nobody reads them any more. */
  readonly #open = new Map<string, boolean>();
  /** Resumes an item whose chunk waits for a reader that is gone. */
  readonly #leaving = new Map<string, () => void>();
  readonly #spent = new Set<ArrayBuffer>();

  constructor(items: readonly BatchItem[], sink: BatchSink, cancelled: (id: string) => void) {
    this.#sink = sink;
    this.#cancelled = cancelled;
    for (const { id, input } of items) {
      this.#open.set(id, true);
      if (input.kind === 'raw') clearTails(input.parameters);
    }
  }

  async chunk(id: string, chunk: ItemResult): Promise<void> {
    if (this.#open.get(id) !== true) return;
    const taken = this.#sink.chunk(id, chunk).catch(() => this.cancel(id));
    const gone = new Promise<void>((resolve) => this.#leaving.set(id, resolve));
    await Promise.race([taken, gone]);
  }

  result(id: string, result: ItemResult): void {
    if (this.#open.delete(id)) this.#sink.result(id, result);
  }

  error(id: string, error: MarlineError): void {
    if (this.#open.delete(id)) this.#sink.error(id, error);
  }

  ran(items: number, durationMs: number, hooks?: HookTimings): void {
    this.#sink.ran(items, durationMs, hooks);
  }

  cancel(id: string): void {
    if (this.#open.get(id) !== true) return;
    this.#open.set(id, false);
    this.#leaving.get(id)?.();
    this.#cancelled(id);
  }

  recycle(buffer: ArrayBuffer): void {
    this.#spent.add(buffer);
  }

  failRest(error: MarlineError): void {
    for (const id of this.#open.keys()) {
      this.cancel(id);
      this.error(id, error);
    }
  }

  /** What the engine left open fails; buffers that it needs no more carry other requests. */
  finish(left: MarlineError): void {
    for (const buffer of this.#spent) recycleTaken(buffer);
    this.failRest(left);
  }
}
