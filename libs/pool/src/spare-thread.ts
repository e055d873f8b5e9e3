import { systemClock, type MarlineError } from '#libs/common';
import type { RemoteWorkerOptions } from './remote-worker.js';
import { Thread, type ThreadOptions } from './thread.js';
import type { Vessel, VesselEvents } from './vessel.js';

/** How often a thread that could not be ended is looked at again. */
const GATE_POLL_MS = 10;

/**
 * A thread that has loaded its code and waits for a worker to take it: booting and importing are nearly all that a worker of a
 * model with shared weights waits for (94 of 102 ms of CPU for a ResNet-50). It costs the memory of a thread without a model.
 */
export class SpareThread {
  readonly #thread: Thread;
  #events: VesselEvents | undefined;
  #gone = false;

  /**
   * @param takesOutput as that of the worker that takes it
   * @throws Error when no thread can be made
   */
  constructor({ takesOutput, ...options }: ThreadOptions & Pick<RemoteWorkerOptions, 'takesOutput'>) {
    this.#thread = new Thread(options, {
      received: (packet) => this.#events?.received(packet),
      ...(takesOutput && { printed: (stream, chunk) => this.#events?.printed?.(stream, chunk) }),
      exited: (error) => this.#exited(error),
    });
  }

  /** Hands the thread over, once; `undefined` when it is gone. */
  take(events: VesselEvents): Vessel | undefined {
    if (this.#gone) return undefined;
    this.#gone = true;
    this.#events = events;
    return this.#thread;
  }

  /** Ends a thread that nobody took. */
  end(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#end();
  }

  #end(): void {
    // A thread that boots cannot be ended yet.
    if (!this.#thread.tryEnd()) systemClock.after(GATE_POLL_MS, () => this.#end());
  }

  #exited(error: MarlineError): void {
    this.#gone = true;
    this.#events?.exited(error);
  }
}
