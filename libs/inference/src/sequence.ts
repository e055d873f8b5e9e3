import type { MarlineError } from '#libs/common';
import type { Queued, Standing } from './batching-policy.js';
import { WaitingLine, type Place } from './waiting-line.js';

/** One request of a sequence. */
export interface Step<T> extends Queued<T> {
  readonly sequence: Sequence<T>;
  readonly standing: Standing;
  again: boolean;
  onAbort: (() => void) | undefined;
  readonly onDropped: (error: MarlineError) => void;
}

/**
 * Requests that belong together: one after the other, all in the worker that took the first one. A request that names no
 * sequence is one of its own.
 */
export class Sequence<T> {
  /** In order of arrival. */
  readonly waiting: Step<T>[] = [];
  /** The request that its worker is at. */
  running: Step<T> | undefined;
  /** Where it lives; none until a worker takes its first request. */
  home: SequenceHome<T> | undefined;
  /** It is over when what it has is answered. */
  closing = false;
  /** When its last request was answered. */
  quietSince: number;
  #line: WaitingLine<Sequence<T>> | undefined;
  #place: Place<Sequence<T>> | undefined;

  /** @param id nothing: it has this one request */
  constructor(
    readonly id: string | undefined,
    readonly startedAt: number,
  ) {
    this.quietSince = startedAt;
  }

  /** True while nothing of it waits or runs. */
  get isQuiet(): boolean {
    return this.running === undefined && this.waiting.length === 0;
  }

  /** True while its next request stands in line. */
  get isInLine(): boolean {
    return this.#place !== undefined;
  }

  /** Its next request stands in this line from now on, as far ahead as `standing` says. */
  standIn(line: WaitingLine<Sequence<T>>, { priority, tenant }: Standing): void {
    this.#line = line;
    this.#place = line.push(this, priority, tenant);
  }

  /** The line let it go: it was its turn. */
  called(): void {
    this.#place = undefined;
  }

  leaveLine(): void {
    if (this.#place !== undefined) this.#line?.remove(this.#place);
    this.#place = undefined;
  }
}

/** Takes who is next out of a line. */
export function callNext<T>(line: WaitingLine<Sequence<T>>): Sequence<T> | undefined {
  const next = line.shift();
  next?.called();
  return next;
}

/** A worker as its sequences see it. */
export class SequenceHome<T> {
  readonly sequences = new Set<Sequence<T>>();
  /** Its sequences whose next request may be taken. */
  readonly line = new WaitingLine<Sequence<T>>();
  /** The batch that it is at. */
  running: readonly Step<T>[] = [];
  /** Requests of the last batch that are in the next one again. */
  staying: Step<T>[] = [];
  /** Until when the next batch waits to fill. */
  closesAt: number | undefined;
  #whenEmpty: () => void = () => {};

  constructor(readonly workerId: number) {}

  take(sequence: Sequence<T>): void {
    sequence.home = this;
    this.sequences.add(sequence);
  }

  leave(sequence: Sequence<T>): void {
    if (this.sequences.delete(sequence) && this.sequences.size === 0) this.#whenEmpty();
  }

  /** Resolves when no sequence lives here any more; `undefined` when that is so now. */
  whenEmpty(): Promise<void> | undefined {
    if (this.sequences.size === 0) return undefined;
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
    });
  }
}
