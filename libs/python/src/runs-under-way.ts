import { MarlineError, type Clock } from '#libs/common';
import { unexpected, type PythonBatch } from './python-batch.js';
import type { Reply } from './reply-reader.js';

/** How a worker takes several batches at once. */
export interface AsyncRuns {
  /** Batches under way at once. */
  readonly capacity: number;
  /** Milliseconds without a reply after which a batch is given up; 0 is no limit. */
  readonly silenceLimitMs: number;
}

interface Run {
  readonly batch: PythonBatch;
  readonly finish: () => void;
  /** When the worker last said something about it. */
  heardAt: number;
}

/**
 * The batches that a worker has under way. An ordinary worker has one, and what it says is about that. An asynchronous one has
 * many and answers out of order: a reply belongs to the batch that has its first request, for it never speaks of two.
 *
 * TorchServe sets an asynchronous worker no limit, so a reply that a handler lost would be waited for without end. Here a
 * batch of which nothing is heard for the limit is given up alone while the worker says something to others, and with the
 * worker when it says nothing at all.
 */
export class RunsUnderWay {
  readonly #many: AsyncRuns | undefined;
  readonly #clock: Clock;
  readonly #onSilence: () => void;
  readonly #runs: Run[] = [];
  #largest = 0;
  #heardAt = -Infinity;
  #cancelLook: (() => void) | undefined;

  /**
   * @param many absent for one at a time, whose time is watched over elsewhere
   * @param onSilence is told when the worker says nothing any more
   */
  constructor(many: AsyncRuns | undefined, clock: Clock, onSilence: () => void) {
    this.#many = many;
    this.#clock = clock;
    this.#onSilence = onSilence;
  }

  get size(): number {
    return this.#runs.length;
  }

  /** Most predictions that a reply may hold. */
  get mostPredictions(): number {
    // What is said too late is about a batch that is no longer there.
    return this.#many === undefined ? (this.#runs[0]?.batch.size ?? 0) : this.#largest;
  }

  /** Resolves when the batch is over. */
  begin(batch: PythonBatch): Promise<void> {
    this.#largest = Math.max(this.#largest, batch.size);
    return new Promise((finish) => {
      this.#runs.push({ batch, finish, heardAt: this.#clock.now() });
      this.#lookIn(this.#many?.silenceLimitMs ?? 0);
    });
  }

  /**
   * Hands a reply to its batch.
   * @returns true when that was its last one
   * @throws MarlineError `WORKER_DIED` for an answer to what was not asked
   */
  reply(reply: Reply): boolean {
    const now = this.#clock.now();
    const run = this.#runOf(reply);
    this.#heardAt = now;
    if (run === undefined) return false;
    run.heardAt = now;
    if (!run.batch.reply(reply, now)) return false;
    this.#end(run);
    return true;
  }

  cancel(itemId: string): void {
    for (const { batch } of this.#runs) batch.cancel(itemId);
  }

  /** Fails every item that has no answer yet. */
  failRest(error: MarlineError): void {
    for (const { batch } of this.#runs) batch.failRest(error);
  }

  /** The worker is gone. */
  end(error: MarlineError): void {
    this.#cancelLook?.();
    this.failRest(error);
    for (const { finish } of this.#runs.splice(0)) finish();
  }

  #runOf({ predictions: [first] }: Reply): Run | undefined {
    if (this.#many !== undefined) return first && this.#runs.find(({ batch }) => batch.has(first.id));
    if (this.#runs[0] === undefined) throw unexpected('a reply to no request');
    return this.#runs[0];
  }

  #end(run: Run): void {
    this.#runs.splice(this.#runs.indexOf(run), 1);
    run.finish();
  }

  #lookIn(delayMs: number): void {
    if (delayMs === 0 || this.#cancelLook !== undefined) return;
    this.#cancelLook = this.#clock.after(delayMs, () => {
      this.#cancelLook = undefined;
      this.#look();
    });
  }

  #look(): void {
    const limitMs = this.#many?.silenceLimitMs ?? 0;
    const now = this.#clock.now();
    for (const run of this.#runs.filter(({ heardAt }) => heardAt + limitMs <= now)) {
      if (this.#heardAt <= run.heardAt) {
        this.#onSilence();
        return;
      }
      run.batch.failRest(new MarlineError('DEADLINE_EXCEEDED', { deadlineMs: limitMs }));
      this.#end(run);
    }
    const next = Math.min(...this.#runs.map(({ heardAt }) => heardAt + limitMs));
    if (next < Infinity) this.#lookIn(Math.max(1, next - now));
  }
}
