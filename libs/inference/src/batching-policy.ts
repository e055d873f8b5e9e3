import type { MarlineError } from '#libs/common';
import type { AnswerBounds } from './pending-answer.js';
import type { Priority } from './prediction.js';

/** A request that waits, or waited until it was dispatched. */
export interface Queued<T> {
  readonly item: T;
  /** Time of the batcher's clock at which it was submitted. */
  readonly queuedAt: number;
  readonly bounds: AnswerBounds;
  /** True for a request of continuous batching that its worker had in a batch before. */
  readonly again?: boolean;
}

/** Who is served first, and with whom. */
export interface Standing {
  readonly priority?: Priority;
  readonly tenant?: string;
  /** True: shares its batch with nobody. */
  readonly alone?: boolean;
  /** The sequence that it is a step of. */
  readonly step?: { readonly sequence: string; readonly isLast: boolean };
}

/** Which requests wait, and which of them leave together when a worker can take them. Does no I/O and never looks into an item. */
export interface BatchingPolicy<T> {
  /** Requests that wait. */
  readonly pending: number;
  /** Requests that still find room. */
  readonly remaining: number;
  /** Milliseconds that the oldest of the waiting requests has waited; 0 when none waits. */
  readonly oldestWaitMs: number;

  /**
   * Queues a request; it is dispatched at the end of this turn of the event loop at the earliest.
   * @param onDropped called once when the request leaves the queue unserved
   * @throws MarlineError when it is refused
   */
  submit(
    item: T,
    bounds: AnswerBounds,
    onDropped: (error: MarlineError) => void,
    standing?: Standing,
  ): Queued<T>;

  /** A worker became idle: it takes what waits. Calling it without need does no harm. */
  wake(): void;

  /** Fails everything that waits. New requests are still taken. */
  rejectAll(error: MarlineError): void;
}
