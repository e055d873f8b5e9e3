import { MarlineError, type Clock } from '#libs/common';
import type { BatchingPolicy, Queued, Standing } from './batching-policy.js';
import { EarliestTimer } from './earliest-timer.js';
import { expired, type AnswerBounds } from './pending-answer.js';
import { Sequence, SequenceHome, callNext, type Step } from './sequence.js';
import { WaitingLine } from './waiting-line.js';

/** How many sequences there may be, and for how long. */
export interface SequenceLimits {
  /** Sequences at one time. */
  readonly most: number;
  /** Requests of one sequence that may wait beside the one that is next. */
  readonly queueSize: number;
  /** Milliseconds without a request after which a sequence is over. */
  readonly maxIdleMs: number;
  /** Milliseconds after its first request at which it is over in any case; 0: never. */
  readonly timeoutMs: number;
}

/** What a sequence batcher is told. What is a function is asked each time, because it may change while it works. */
export interface SequenceBatcherOptions<T> {
  /** Most requests of one batch, now; below 1 counts as 1. */
  readonly batchSize: () => number;
  /** Milliseconds that a batch waits for those of its worker's sequences that have no request yet. 0: never waits. */
  readonly maxBatchDelayMs: number;
  /** Most requests without a sequence that may wait. */
  readonly queueSize: number;
  /** Absent: every request is a sequence of its own. */
  readonly limits?: SequenceLimits;
  /** Most sequences of one worker. */
  readonly perWorker: () => number;
  readonly clock: Clock;
  /** Idle workers that new sequences may go to. */
  readonly idle: () => readonly number[];
  /** True when a worker can take a batch. */
  readonly isIdle: (workerId: number) => boolean;
  /** Takes the batch over to this worker: from here on its deadlines and signals are not watched any more. Must not throw. */
  readonly dispatch: (batch: readonly Queued<T>[], workerId: number) => void;
  /** Asked once a batch is over: true when the request is in the next batch of the same worker again. */
  readonly goesOn: (item: T) => boolean;
  /** The error of a request that finds the queue full. */
  readonly full: () => MarlineError;
  /** The error of a request of a sequence that cannot be served, with the reason. */
  readonly refused: (reason: string) => MarlineError;
}

/**
 * Groups requests whose worker remembers them from one to the next.
 *
 * - A sequence lives in one worker: the idle one with the fewest sequences takes it, when it has room for one more. A batch has at
 *   most one request of each of its worker's sequences, so the next one of a sequence leaves after the answer to the last.
 * - With continuous batching a request stays in the batches of its worker until its answer is complete; what the batch has room
 *   for joins it between two runs, without waiting.
 * - Sequences end when they are quiet for too long, too old, or said to be over, and with their worker.
 * - Deadlines, signals, priorities and tenants count as in {@link Batcher}, for the next request of each sequence.
 */
export class SequenceBatcher<T> implements BatchingPolicy<T> {
  readonly #options: SequenceBatcherOptions<T>;
  readonly #named = new Map<string, Sequence<T>>();
  readonly #all = new Set<Sequence<T>>();
  readonly #homes = new Map<number, SequenceHome<T>>();
  /** Sequences that no worker has taken. */
  readonly #homeless = new WaitingLine<Sequence<T>>();
  /** Those that share their batch with nobody. */
  readonly #alone = new WaitingLine<Sequence<T>>();
  readonly #deadlines: EarliestTimer;
  readonly #delays: EarliestTimer;
  readonly #ends: EarliestTimer;
  #pending = 0;
  #pendingUnnamed = 0;
  #pumping = false;
  #pumpsAgain = false;
  #turnEnds = false;

  constructor(options: SequenceBatcherOptions<T>) {
    this.#options = options;
    this.#deadlines = new EarliestTimer(options.clock, () => this.#expire());
    this.#delays = new EarliestTimer(options.clock, () => this.#pump());
    this.#ends = new EarliestTimer(options.clock, () => this.#endDue());
  }

  get pending(): number {
    return this.#pending;
  }

  /** For requests without a sequence, as in TorchServe: each sequence has a queue of its own beside. */
  get remaining(): number {
    return Math.min(this.#options.queueSize, Math.max(0, this.#unnamedRoom() - this.#pendingUnnamed));
  }

  get oldestWaitMs(): number {
    let oldest = Infinity;
    for (const { waiting } of this.#all) oldest = Math.min(oldest, waiting[0]?.queuedAt ?? Infinity);
    return oldest === Infinity ? 0 : this.#options.clock.now() - oldest;
  }

  /**
   * {@inheritDoc BatchingPolicy.submit}
   * @throws MarlineError what `refused` makes for a sequence too many and for one whose queue is full, what `full` makes for a
   * request without a sequence; `DEADLINE_EXCEEDED` and `REQUEST_CANCELLED` when there is no point in queueing
   */
  submit(
    item: T,
    bounds: AnswerBounds,
    onDropped: (error: MarlineError) => void,
    standing: Standing = {},
  ): Queued<T> {
    const queuedAt = this.#options.clock.now();
    const { signal, deadlineAt } = bounds;
    if (signal?.aborted === true) throw new MarlineError('REQUEST_CANCELLED');
    if (deadlineAt !== undefined && deadlineAt <= queuedAt) throw expired(bounds);
    const sequence = this.#sequenceFor(standing, queuedAt);
    const step: Step<T> = {
      item,
      queuedAt,
      bounds,
      sequence,
      standing,
      again: false,
      onAbort: undefined,
      onDropped,
    };
    sequence.waiting.push(step);
    this.#count(step, 1);
    if (signal !== undefined) {
      step.onAbort = () => this.#drop(step, new MarlineError('REQUEST_CANCELLED'));
      signal.addEventListener('abort', step.onAbort, { once: true });
    }
    if (deadlineAt !== undefined) this.#deadlines.by(deadlineAt);
    this.#queueUp(sequence);
    this.#pumpSoon();
    return step;
  }

  wake(): void {
    this.#pump();
  }

  /** Fails everything that waits and ends all sequences; what runs is finished. */
  rejectAll(error: MarlineError): void {
    for (const sequence of this.#all) this.#end(sequence, error);
  }

  /** A handler said that these sequences are over. Those of other workers are none of its business. */
  close(ids: readonly string[], workerId: number): void {
    for (const id of ids) {
      const sequence = this.#named.get(id);
      if (sequence?.home?.workerId !== workerId) continue;
      sequence.closing = true;
      if (sequence.isQuiet) this.#end(sequence);
    }
  }

  /** A worker is gone, and what it remembered: its sequences are over. What it runs is failed by whoever runs it. */
  lose(workerId: number, error: MarlineError): void {
    const home = this.#homes.get(workerId);
    if (home === undefined) return;
    this.#homes.delete(workerId);
    const staying = [...home.staying, ...home.running.filter(({ item }) => this.#options.goesOn(item))];
    for (const sequence of home.sequences) {
      sequence.running = undefined;
      this.#end(sequence, error);
    }
    for (const step of staying) step.onDropped(error);
  }

  /** True while the sequence of this id goes on. */
  knows(id: string): boolean {
    return this.#named.has(id);
  }

  /** True while sequences live in this worker. */
  isHome(workerId: number): boolean {
    return (this.#homes.get(workerId)?.sequences.size ?? 0) > 0;
  }

  /** Resolves when no sequence lives in this worker any more; `undefined` when none does. */
  whenLeft(workerId: number): Promise<void> | undefined {
    return this.#homes.get(workerId)?.whenEmpty();
  }

  #sequenceFor({ step }: Standing, now: number): Sequence<T> {
    const { limits, full, refused } = this.#options;
    if (step === undefined || limits === undefined) {
      if (this.#pendingUnnamed >= this.#unnamedRoom()) throw full();
      return this.#begin(undefined, now);
    }
    const known = this.#named.get(step.sequence);
    if (known === undefined) {
      if (this.#named.size >= limits.most)
        throw refused(`${limits.most} sequences are under way, and maxNumSequence allows no more`);
      return this.#begin(step.sequence, now);
    }
    // The one that is next has left the queue in TorchServe, whether or not it runs already.
    const waiting = known.waiting.length - (known.running === undefined ? 1 : 0);
    if (waiting >= limits.queueSize)
      throw refused(`${waiting} of its requests wait already, and maxSequenceJobQueueSize allows no more`);
    return known;
  }

  #begin(id: string | undefined, now: number): Sequence<T> {
    const sequence = new Sequence<T>(id, now);
    this.#all.add(sequence);
    if (id === undefined) return sequence;
    this.#named.set(id, sequence);
    const { timeoutMs = 0 } = this.#options.limits ?? {};
    if (timeoutMs > 0) this.#ends.by(now + timeoutMs);
    return sequence;
  }

  /** What idle workers are about to take stands for those workers, not in the queue. */
  #unnamedRoom(): number {
    const { queueSize, idle } = this.#options;
    return queueSize + idle().length * this.#batchSize();
  }

  #batchSize(): number {
    return Math.max(1, this.#options.batchSize());
  }

  /** The next request of a sequence stands in line, unless it has to wait for an answer. */
  #queueUp(sequence: Sequence<T>): void {
    const [next] = sequence.waiting;
    if (next === undefined || sequence.running !== undefined || sequence.isInLine) return;
    const line = next.standing.alone === true ? this.#alone : (sequence.home?.line ?? this.#homeless);
    sequence.standIn(line, next.standing);
  }

  #pumpSoon(): void {
    if (this.#turnEnds) return;
    this.#turnEnds = true;
    this.#options.clock.soon(() => {
      this.#turnEnds = false;
      this.#pump();
    });
  }

  #pump(): void {
    this.#pumpsAgain = true;
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#pumpsAgain) {
        this.#pumpsAgain = false;
        this.#collectAll();
        this.#house();
        for (const home of this.#homes.values()) if (this.#options.isIdle(home.workerId)) this.#serve(home);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Sees which batches are over, and what becomes of their requests. */
  #collectAll(): void {
    for (const home of this.#homes.values()) {
      if (home.running.length === 0 || !this.#options.isIdle(home.workerId)) continue;
      const { running } = home;
      home.running = [];
      for (const step of running) {
        if (this.#options.goesOn(step.item)) {
          step.again = true;
          home.staying.push(step);
        } else {
          this.#answered(step.sequence);
        }
      }
    }
  }

  #answered(sequence: Sequence<T>): void {
    sequence.running = undefined;
    sequence.quietSince = this.#options.clock.now();
    if (sequence.isQuiet && (sequence.closing || sequence.id === undefined)) {
      this.#end(sequence);
      return;
    }
    this.#queueUp(sequence);
    this.#ends.by(this.#endsAt(sequence));
  }

  /** Gives sequences that have no worker to the idle ones with room. */
  #house(): void {
    if (this.#homeless.length === 0) return;
    const homes = this.#options.idle().map((workerId) => this.#homeOf(workerId));
    for (let next = this.#homeless.peek(); next !== undefined; next = this.#homeless.peek()) {
      let best: SequenceHome<T> | undefined;
      for (const home of homes) {
        if (!this.#hasRoom(home, next)) continue;
        if (best === undefined || home.sequences.size < best.sequences.size) best = home;
      }
      if (best === undefined) return;
      callNext(this.#homeless);
      best.take(next);
      this.#queueUp(next);
    }
  }

  #hasRoom({ sequences, line, staying }: SequenceHome<T>, { id }: Sequence<T>): boolean {
    if (id !== undefined) return sequences.size < Math.max(1, this.#options.perWorker());
    return line.length + staying.length < this.#batchSize();
  }

  #homeOf(workerId: number): SequenceHome<T> {
    let home = this.#homes.get(workerId);
    if (home === undefined) {
      home = new SequenceHome<T>(workerId);
      this.#homes.set(workerId, home);
    }
    return home;
  }

  #serve(home: SequenceHome<T>): void {
    if (home.staying.length > 0 || this.#alone.length === 0) {
      if (!this.#mustWait(home)) this.#dispatch(home, home.line, this.#batchSize());
      return;
    }
    this.#dispatch(home, this.#alone, 1);
  }

  /** True while the next batch has time left to fill. */
  #mustWait(home: SequenceHome<T>): boolean {
    const { maxBatchDelayMs, clock } = this.#options;
    const full = Math.min(this.#batchSize(), home.sequences.size);
    if (maxBatchDelayMs <= 0 || home.staying.length > 0) return false;
    if (home.line.length === 0 || home.line.length >= full) return false;
    const now = clock.now();
    home.closesAt ??= now + maxBatchDelayMs;
    // What has a deadline before that does not wait.
    if (home.closesAt <= now || this.#deadlines.at <= home.closesAt) return false;
    this.#delays.by(home.closesAt);
    return true;
  }

  #dispatch(home: SequenceHome<T>, line: WaitingLine<Sequence<T>>, size: number): void {
    const batch = home.staying;
    home.staying = [];
    home.closesAt = undefined;
    while (batch.length < size) {
      const sequence = callNext(line);
      if (sequence === undefined) break;
      const step = this.#take(sequence);
      if (step === undefined) continue;
      home.take(sequence);
      sequence.running = step;
      sequence.closing = step.standing.step?.isLast === true;
      batch.push(step);
    }
    if (batch.length === 0) return;
    home.running = batch;
    this.#options.dispatch(batch, home.workerId);
  }

  /** The next request of a sequence whose deadline has not passed unseen while the event loop was held up. */
  #take(sequence: Sequence<T>): Step<T> | undefined {
    const now = this.#options.clock.now();
    for (let step = sequence.waiting[0]; step !== undefined; step = sequence.waiting[0]) {
      if (step.bounds.deadlineAt !== undefined && step.bounds.deadlineAt <= now) {
        this.#drop(step, expired(step.bounds));
        continue;
      }
      sequence.waiting.shift();
      this.#unlink(step);
      sequence.leaveLine();
      return step;
    }
    return undefined;
  }

  #drop(step: Step<T>, error: MarlineError): void {
    const { sequence } = step;
    sequence.waiting.splice(sequence.waiting.indexOf(step), 1);
    this.#unlink(step);
    sequence.leaveLine();
    if (sequence.isQuiet && (sequence.home === undefined || sequence.closing)) this.#end(sequence);
    else if (sequence.isQuiet) this.#ends.by(this.#endsAt(sequence));
    else this.#queueUp(sequence);
    step.onDropped(error);
  }

  #unlink(step: Step<T>): void {
    this.#count(step, -1);
    // Signals outlive requests, so a listener left behind would pile up.
    if (step.onAbort !== undefined) step.bounds.signal?.removeEventListener('abort', step.onAbort);
  }

  #count({ sequence }: Step<T>, change: 1 | -1): void {
    this.#pending += change;
    if (sequence.id === undefined) this.#pendingUnnamed += change;
  }

  /** No further request belongs to it. One that is being answered is finished; those that wait fail with `error`. */
  #end(sequence: Sequence<T>, error?: MarlineError): void {
    if (sequence.id !== undefined && this.#named.get(sequence.id) === sequence)
      this.#named.delete(sequence.id);
    sequence.leaveLine();
    sequence.closing = true;
    const waiting = sequence.waiting.splice(0);
    for (const step of waiting) this.#unlink(step);
    if (sequence.running === undefined) {
      this.#all.delete(sequence);
      sequence.home?.leave(sequence);
    }
    // There may be room for another one.
    this.#pumpSoon();
    for (const step of waiting) step.onDropped(error ?? this.#options.refused('it is over'));
  }

  #endsAt({ startedAt, quietSince, isQuiet }: Sequence<T>): number {
    const { maxIdleMs, timeoutMs } = this.#options.limits ?? { maxIdleMs: Infinity, timeoutMs: 0 };
    return Math.min(
      timeoutMs > 0 ? startedAt + timeoutMs : Infinity,
      isQuiet ? quietSince + maxIdleMs : Infinity,
    );
  }

  #endDue(): void {
    const now = this.#options.clock.now();
    for (const sequence of this.#named.values()) {
      const at = this.#endsAt(sequence);
      if (at > now) this.#ends.by(at);
      else this.#end(sequence, this.#options.refused('it is older than its sequenceTimeoutMSec'));
    }
  }

  #expire(): void {
    const now = this.#options.clock.now();
    const late: Step<T>[] = [];
    for (const { waiting } of this.#all) {
      for (const step of waiting) {
        const { deadlineAt = Infinity } = step.bounds;
        if (deadlineAt <= now) late.push(step);
        else this.#deadlines.by(deadlineAt);
      }
    }
    for (const step of late) if (step.sequence.waiting.includes(step)) this.#drop(step, expired(step.bounds));
  }
}
