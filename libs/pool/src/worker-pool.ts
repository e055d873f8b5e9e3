import {
  MarlineError,
  systemClock,
  type BatchItem,
  type BatchSink,
  type Clock,
  type HandlerMetric,
} from '#libs/common';
import type { PoolWorker, WorkerEvents, WorkerState } from './pool-worker.js';
import type { LogLevel } from './protocol.js';
import { WorkerSlot, type SlotHost } from './worker-slot.js';

/** What a worker, or the place where one should be, is doing. */
export type PooledState = WorkerState | 'failed' | 'retrying';

/** A change in the life of a worker. Becoming busy and free again is not told. */
export interface PoolEvent {
  readonly workerId: number;
  readonly state: PooledState;
  readonly error?: MarlineError;
}

export interface WorkerPoolOptions<Model, Info> {
  /** Makes a worker; the pool starts it. */
  readonly create: (id: number, events: WorkerEvents) => PoolWorker<Model, Info>;
  readonly nextId: () => number;
  /** What the worker of a slot loads. Called once per slot; a worker that is restarted there loads the same again. */
  readonly modelFor: (slot: number) => Model;
  /** The slot is gone for good. */
  readonly releaseModel?: (model: Model) => void;
  /** Milliseconds a run may take until its next reply; 0 is no limit. */
  readonly runTimeoutMs: number;
  /** Milliseconds after its first failure in which a worker is restarted. */
  readonly retryWindowMs: number;
  readonly clock?: Clock;
  readonly observer?: (event: PoolEvent) => void;
  /** What a worker tells when it is ready, before it gets work. */
  readonly onReady?: (info: Info) => void;
  /** A worker may have room for a run: give it work. */
  readonly onIdle: () => void;
  /**
   * Asked when a worker is to stop: resolves when nothing is left that only this one can do. Until then it takes batches that name it,
   * and no others. `undefined`: it may stop at once.
   */
  readonly mayStop?: (workerId: number) => Promise<void> | undefined;
  readonly metric?: (workerId: number, metric: HandlerMetric) => void;
  readonly log?: (workerId: number, level: LogLevel, text: string) => void;
}

/** One worker of a pool, as describe shows it. */
export interface PooledWorker<Model> {
  readonly id: number;
  readonly slot: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly state: PooledState;
  readonly pid: number;
  readonly model: Model;
  /** Why it is not ready. */
  readonly error?: MarlineError;
}

/**
 * The workers of one model version: as many as wanted, each kept alive. It has no queue: work is taken when a worker is
 * idle. All callbacks are called synchronously and must not throw.
 */
export class WorkerPool<Model, Info> {
  readonly #options: WorkerPoolOptions<Model, Info>;
  readonly #host: SlotHost<Model, Info>;
  #slots: WorkerSlot<Model, Info>[] = [];
  /** Slots that finish their batch and are no longer part of the pool. */
  readonly #draining = new Map<WorkerSlot<Model, Info>, Promise<void>>();
  /** Workers that left their slot and have not ended yet. */
  readonly #retired = new Set<Promise<void>>();
  #room = 0;
  #closed = false;

  constructor(options: WorkerPoolOptions<Model, Info>) {
    this.#options = options;
    this.#host = {
      clock: options.clock ?? systemClock,
      runTimeoutMs: options.runTimeoutMs,
      retryWindowMs: options.retryWindowMs,
      create: options.create,
      events: (id) => ({
        metric: (metric) => options.metric?.(id, metric),
        log: (level, text) => options.log?.(id, level, text),
      }),
      ready: (info) => options.onReady?.(info),
      idle: options.onIdle,
      counted: (change) => {
        this.#room += change;
      },
      changed: (workerId, state, error) => options.observer?.({ workerId, state, ...(error && { error }) }),
      retire: (ended) => this.#track(ended),
    };
  }
  /** Workers wanted. */
  get target(): number {
    return this.#slots.length;
  }

  /** Runs that can begin now: the idle workers, and what is left of those that take several at once. */
  get room(): number {
    return this.#room;
  }

  /** Workers that run nothing. */
  get idleCount(): number {
    let count = 0;
    for (const slot of this.#slots) if (slot.idle) count += 1;
    return count;
  }

  /** Workers that have loaded: idle and busy ones. */
  get readyCount(): number {
    return this.#slots.filter((slot) => slot.state === 'ready').length;
  }

  /** Workers that are ready or may become so: 0 means that nobody will take work. */
  get alive(): number {
    return this.#slots.filter((slot) => slot.state !== 'failed').length;
  }

  /** Why fewer workers are ready than wanted; `undefined` when all are, or when none has failed. */
  get failure(): MarlineError | undefined {
    return this.#slots.find((slot) => slot.error !== undefined)?.error;
  }

  /**
   * Changes the number of workers. The change itself is immediate, so of several calls the last one wins; the promise is
   * only for whoever wants to wait. Workers that have failed before are tried again at once, with a fresh budget.
   *
   * Resolves when this many workers are ready and the surplus has answered its batches and stopped; also when a later call
   * no longer wants the workers that this one waits for.
   * @throws MarlineError of the first start that fails; a transient failure is retried in the background nevertheless
   * @throws MarlineError `SHUTTING_DOWN` after close
   */
  async scale(count: number): Promise<void> {
    if (this.#closed) throw new MarlineError('SHUTTING_DOWN');
    const kept = this.#slots.slice(0, count);
    // The newest go first: the oldest have the warmest caches, because work is given to them first.
    for (const surplus of this.#slots.splice(count).toReversed()) this.#drain(surplus);
    const started = kept.map((slot) => slot.settled());
    while (this.#slots.length < count) started.push(this.#addSlot().settled());
    await Promise.all([...started, ...this.#draining.values()]);
  }

  /** Ids of the workers that are idle, the oldest first; without those that are to stop. */
  idleWorkers(): number[] {
    return this.#slots.filter((slot) => slot.idle).map(({ id }) => id);
  }

  /** True while this worker, which may be about to stop, can take a batch. */
  isIdle(workerId: number): boolean {
    return this.#slotOf(workerId)?.idle === true;
  }

  /**
   * Gives a batch to a worker with room for it, or to the one that is named, which must be idle. False when there is none such;
   * otherwise every item gets its answer or error through the sink. Takes ownership of the bytes and tensors.
   */
  run(batch: readonly BatchItem[], sink: BatchSink, workerId?: number): boolean {
    if (workerId !== undefined) {
      const named = this.#slotOf(workerId);
      if (named?.idle !== true) return false;
      named.run(batch, sink);
      return true;
    }
    // The oldest idle worker, not the longest idle: a small load keeps one worker warm, leaves the memory of the others
    // untouched, and the newest, which are stopped first, have the least to finish. Without an idle one it is the one with least to do.
    if (this.#room === 0) return false;
    let chosen: WorkerSlot<Model, Info> | undefined;
    for (const slot of this.#slots) {
      if (slot.room > 0 && (chosen === undefined || slot.runs < chosen.runs)) chosen = slot;
      if (chosen?.runs === 0) break;
    }
    chosen?.run(batch, sink);
    return chosen !== undefined;
  }

  /** The caller of an item is gone; unknown ids are ignored. */
  cancel(itemId: string): void {
    for (const slot of this.#slots) slot.cancel(itemId);
    for (const slot of this.#draining.keys()) slot.cancel(itemId);
  }

  workers(): PooledWorker<Model>[] {
    return this.#slots.map((slot) => ({
      id: slot.id,
      slot: slot.index,
      startedAt: slot.startedAt,
      state: stateOf(slot),
      pid: slot.pid,
      model: slot.model,
      ...(slot.error && { error: slot.error }),
    }));
  }

  /**
   * Refuses new work, finishes running batches and stops all workers. Resolves when no worker is left, quarantined ones
   * included: a run that hangs in native code cannot be ended.
   * @param limitMs after which a batch that still runs fails with `SHUTTING_DOWN`; never by default
   */
  async close(limitMs = Infinity): Promise<void> {
    this.#closed = true;
    for (const slot of this.#slots.splice(0).toReversed()) this.#drain(slot);
    const stopWaiting =
      limitMs === Infinity
        ? () => {}
        : this.#host.clock.after(limitMs, () => {
            for (const slot of this.#draining.keys()) {
              void slot.close();
              slot.abandon(new MarlineError('SHUTTING_DOWN'));
            }
          });
    // A batch that overruns while it drains adds a quarantined worker.
    while (this.#draining.size + this.#retired.size > 0)
      await Promise.all([...this.#draining.values(), ...this.#retired]);
    stopWaiting();
  }

  #addSlot(): WorkerSlot<Model, Info> {
    const index = this.#slots.length;
    const slot = new WorkerSlot(this.#options.nextId(), index, this.#options.modelFor(index), this.#host);
    this.#slots.push(slot);
    return slot;
  }

  #drain(slot: WorkerSlot<Model, Info>): void {
    this.#draining.set(slot, this.#drained(slot));
  }

  async #drained(slot: WorkerSlot<Model, Info>): Promise<void> {
    const bound = this.#options.mayStop?.(slot.id);
    if (bound !== undefined) await bound;
    await slot.close();
    this.#draining.delete(slot);
    this.#options.releaseModel?.(slot.model);
  }

  #slotOf(workerId: number): WorkerSlot<Model, Info> | undefined {
    const named = ({ id }: WorkerSlot<Model, Info>) => id === workerId;
    return this.#slots.find(named) ?? [...this.#draining.keys()].find(named);
  }

  #track(ended: Promise<void>): void {
    const tracked = ended.finally(() => this.#retired.delete(tracked));
    this.#retired.add(tracked);
  }
}

function stateOf<Model, Info>(slot: WorkerSlot<Model, Info>): PooledState {
  switch (slot.state) {
    case 'ready':
      return slot.room > 0 ? 'idle' : 'busy';
    case 'closing':
      return 'stopping';
    case 'closed':
      return 'stopped';
    default:
      return slot.state;
  }
}
