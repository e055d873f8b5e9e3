import { MarlineError, toMarlineError, type BatchItem, type BatchSink, type Clock } from '#libs/common';
import { Backoff } from './backoff.js';
import type { PoolWorker, WorkerEvents, WorkerState } from './pool-worker.js';
import { RunLimit } from './run-watch.js';

/**
 * What a place in the pool is doing.
 *
 * ```
 * starting ─► ready ─► retrying ─► starting      any ─► closing ─► closed
 *     └─────────┴──► failed ─► starting (only when somebody asks)
 * ```
 */
export type SlotState = 'starting' | 'ready' | 'retrying' | 'failed' | 'closing' | 'closed';

/** What a slot needs of its pool. */
export interface SlotHost<Model, Info> {
  readonly clock: Clock;
  readonly runTimeoutMs: number;
  readonly retryWindowMs: number;
  create(id: number, events: WorkerEvents): PoolWorker<Model, Info>;
  events(id: number): Pick<WorkerEvents, 'metric' | 'log'>;
  /** The slot's worker is ready, and told this. */
  ready(info: Info): void;
  /** The slot's worker has room for a run: give it work. */
  idle(): void;
  /** So many more runs can begin, or fewer. */
  counted(change: number): void;
  changed(workerId: number, state: WorkerState | 'failed' | 'retrying', error?: MarlineError): void;
  /** A worker left its slot and ends by itself. */
  retire(ended: Promise<void>): void;
}

/**
 * One place for a worker: keeps it filled. Starts a worker, starts another one when it fails (by the back-off) or does
 * not answer in time (at once: the model itself is known to load), and gives up on a permanent failure.
 * The id stays the same whatever worker sits in it, as in TorchServe.
 */
export class WorkerSlot<Model, Info> {
  readonly #host: SlotHost<Model, Info>;
  readonly #backoff: Backoff;
  readonly #waiters: { resolve: () => void; reject: (error: MarlineError) => void }[] = [];
  readonly #closed: Promise<void>;
  #resolveClosed: () => void = () => {};
  /** A new slot waits, as one that retries, for the first {@link WorkerSlot.settled}. */
  #state: SlotState = 'retrying';
  #worker: PoolWorker<Model, Info> | undefined;
  readonly #limit: RunLimit;
  /** Runs that are under way. */
  #runs = 0;
  /** What the pool was told of {@link WorkerSlot.room}. */
  #counted = 0;
  #error: MarlineError | undefined;
  #startedAt = Date.now();
  #cancelRetry: () => void = () => {};

  constructor(
    readonly id: number,
    readonly index: number,
    readonly model: Model,
    host: SlotHost<Model, Info>,
  ) {
    this.#host = host;
    this.#backoff = new Backoff(host.retryWindowMs, host.clock);
    this.#limit = new RunLimit(host.runTimeoutMs, host.clock, () => this.#timedOut());
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  get state(): SlotState {
    return this.#state;
  }

  /** Runs nothing. */
  get idle(): boolean {
    return this.#state === 'ready' && this.#runs === 0;
  }

  /** Runs that it can take now. */
  get room(): number {
    return this.#state === 'ready' ? (this.#worker?.capacity ?? 1) - this.#runs : 0;
  }

  /** Runs that are under way. */
  get runs(): number {
    return this.#runs;
  }

  /** Why the last worker failed; `undefined` since the last success. */
  get error(): MarlineError | undefined {
    return this.#error;
  }

  /** Milliseconds since the epoch at which the last worker was made. */
  get startedAt(): number {
    return this.#startedAt;
  }

  get pid(): number {
    return this.#worker?.pid ?? process.pid;
  }

  /** Resolves when the slot is ready or closed, rejects with the next failure to start. A slot that waits or gave up starts a worker at once. */
  settled(): Promise<void> {
    if (this.#state === 'ready' || this.#state === 'closing' || this.#state === 'closed')
      return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      if (this.#state === 'starting') return;
      this.#cancelRetry();
      this.#backoff.reset();
      void this.#launch();
    });
  }

  /** Only while there is {@link WorkerSlot.room}. */
  run(batch: readonly BatchItem[], sink: BatchSink): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    const { capacity = 1 } = worker;
    const answers = capacity > 1 ? sink : this.#limit.begin(sink);
    this.#runs += 1;
    this.#count();
    void worker.run(batch, answers).then(() => this.#finished(worker));
  }

  #finished(worker: PoolWorker<Model, Info>): void {
    // Else it left the slot, and another run may be under way here.
    if (worker !== this.#worker || this.#runs === 0) return;
    this.#runs -= 1;
    this.#limit.end();
    this.#count();
    if (this.room > 0 && worker.state === 'idle') this.#host.idle();
  }

  /** No run of this worker counts any more. */
  #endRuns(): void {
    this.#runs = 0;
    this.#limit.end();
  }

  /** Tells the pool how much more or less room there is. */
  #count(): void {
    const { room } = this;
    if (room === this.#counted) return;
    this.#host.counted(room - this.#counted);
    this.#counted = room;
  }

  cancel(itemId: string): void {
    this.#limit.release(itemId);
    this.#worker?.cancel(itemId);
  }

  /** Takes no more work; resolves when the running batch is answered and the worker is gone. */
  close(): Promise<void> {
    switch (this.#state) {
      case 'starting':
      case 'ready':
        this.#state = 'closing';
        this.#count();
        this.#host.changed(this.id, 'stopping');
        void (this.#worker?.stop() ?? Promise.resolve()).then(() => this.#gone());
        break;
      case 'retrying':
      case 'failed':
        this.#gone();
        break;
      case 'closing':
      case 'closed':
        break;
    }
    return this.#closed;
  }

  /** Fails the batch that still runs, in a slot that is closing; its worker ends as soon as it can. */
  abandon(error: MarlineError): void {
    if (this.#state === 'closing' && this.#worker !== undefined) this.#abandon(this.#worker, error);
  }

  async #launch(): Promise<void> {
    this.#state = 'starting';
    this.#count();
    this.#host.changed(this.id, 'starting');
    let worker: PoolWorker<Model, Info> | undefined;
    let death: MarlineError | undefined;
    const exited = (error: MarlineError) => {
      death = error;
      if (worker === this.#worker && this.#state === 'ready') this.#lost(error, false);
    };
    try {
      worker = this.#host.create(this.id, { ...this.#host.events(this.id), exited });
      this.#worker = worker;
      this.#startedAt = worker.startedAt;
    } catch (error) {
      this.#lost(toMarlineError(error), false);
      return;
    }
    const outcome = await worker.start(this.model);
    if (worker !== this.#worker || this.#state !== 'starting') return;
    switch (outcome.kind) {
      case 'ready':
        // A worker may die between saying that it is ready and this continuation.
        if (death === undefined) this.#ready(outcome.info);
        else this.#lost(death, false);
        break;
      case 'permanent':
      case 'transient':
        this.#host.retire(worker.stop());
        this.#lost(outcome.error, outcome.kind === 'permanent');
        break;
    }
  }

  #ready(info: Info): void {
    this.#state = 'ready';
    this.#host.ready(info);
    this.#count();
    this.#error = undefined;
    this.#backoff.reset();
    this.#host.changed(this.id, 'idle');
    for (const { resolve } of this.#waiters.splice(0)) resolve();
    this.#host.idle();
  }

  #lost(error: MarlineError, permanent: boolean): void {
    this.#error = error;
    this.#endRuns();
    const delayMs = permanent ? undefined : this.#backoff.next();
    if (delayMs === undefined) {
      this.#state = 'failed';
    } else {
      this.#state = 'retrying';
      this.#cancelRetry = this.#host.clock.after(delayMs, () => void this.#launch());
    }
    this.#count();
    this.#host.changed(this.id, this.#state, error);
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  #timedOut(): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    const reason = `The worker did not answer within the response timeout of ${this.#host.runTimeoutMs} ms.`;
    this.#abandon(worker, new MarlineError('WORKER_DIED', { reason }));
  }

  #abandon(worker: PoolWorker<Model, Info>, error: MarlineError): void {
    this.#endRuns();
    this.#worker = undefined;
    this.#host.changed(this.id, 'quarantined', error);
    if (this.#state === 'closing') this.#gone();
    else if (this.#state === 'ready') void this.#launch();
    // Last, because the callers that it fails may ask for more work at once.
    this.#host.retire(worker.quarantine(error));
    worker.kill?.();
  }

  #gone(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#cancelRetry();
    this.#limit.close();
    this.#count();
    this.#host.changed(this.id, 'stopped');
    for (const { resolve } of this.#waiters.splice(0)) resolve();
    this.#resolveClosed();
  }
}
