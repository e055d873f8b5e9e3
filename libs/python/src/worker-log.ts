import type { Clock } from '#libs/common';
import type { WorkerEvents } from '#libs/pool';
import { isMetricLine, parseMetric } from './metric-line.js';
import { isRoutine } from './worker-lines.js';

/** Lines of a worker that are passed on in one second; a handler that prints without end must not stop all else. */
const MAX_LINES = 200;
const WINDOW_MS = 1000;

/** Takes what a worker prints to where it belongs: metrics to the observer, all else to the log, and no more than anybody reads. */
export class WorkerLog {
  readonly #events: WorkerEvents;
  readonly #clock: Clock;
  #windowFrom = -Infinity;
  #told = 0;
  #left = 0;

  constructor(events: WorkerEvents, clock: Clock) {
    this.#events = events;
    this.#clock = clock;
  }

  line(stream: 'stdout' | 'stderr', text: string): void {
    if (stream === 'stdout' && isMetricLine(text)) {
      const metric = parseMetric(text);
      if (metric !== undefined) {
        this.#events.metric(metric);
        return;
      }
    }
    if (isRoutine(text)) return;
    const now = this.#clock.now();
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
    this.#events.log(stream === 'stdout' ? 'log' : 'warn', text);
  }

  /** Says how many lines were left out since the last one that was passed on. */
  flush(): void {
    if (this.#left > 0)
      this.#events.log('warn', `printed ${this.#left} lines more than are passed on in a second`);
    this.#left = 0;
  }
}
