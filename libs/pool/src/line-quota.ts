import type { Clock } from '#libs/common';
import type { WorkerEvents } from './pool-worker.js';

/** Lines of a worker that are passed on in one second; a handler that prints without end must not stop all else. */
const MAX_LINES = 200;
const WINDOW_MS = 1000;

/** Passes on what a worker prints, but no more than anybody reads. */
export class LineQuota {
  #windowFrom = -Infinity;
  #told = 0;
  #left = 0;

  constructor(
    private readonly events: Pick<WorkerEvents, 'log'>,
    private readonly clock: Clock,
  ) {}

  tell(stream: OutputStream, text: string): void {
    const now = this.clock.now();
    if (now - this.#windowFrom >= WINDOW_MS) {
      this.flush();
      this.#windowFrom = now;
      this.#told = 0;
    }
    if (this.#told >= MAX_LINES) {
      this.#left += 1;
      return;
    }
    this.#told += 1;
    this.events.log(stream === 'stdout' ? 'log' : 'warn', text);
  }

  /** Says how many lines were left out since the last one that was passed on. */
  flush(): void {
    if (this.#left > 0)
      this.events.log('warn', `printed ${this.#left} lines more than are passed on in a second`);
    this.#left = 0;
  }
}

/** Where a worker prints. */
export type OutputStream = 'stdout' | 'stderr';
