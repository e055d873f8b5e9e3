import type { Clock } from '#libs/common';
import { LineQuota, type OutputStream, type WorkerEvents } from '#libs/pool';
import { isMetricLine, parseMetric } from './metric-line.js';
import { isRoutine } from './worker-lines.js';

/** Takes what a worker prints to where it belongs: metrics to the observer, all else to the log, and no more than anybody reads. */
export class WorkerLog {
  readonly #events: WorkerEvents;
  readonly #quota: LineQuota;

  constructor(events: WorkerEvents, clock: Clock) {
    this.#events = events;
    this.#quota = new LineQuota(events, clock);
  }

  line(stream: OutputStream, text: string): void {
    if (stream === 'stdout' && isMetricLine(text)) {
      const metric = parseMetric(text);
      if (metric !== undefined) {
        this.#events.metric(metric);
        return;
      }
    }
    if (!isRoutine(text)) this.#quota.tell(stream, text);
  }

  /** Says how many lines were left out since the last one that was passed on. */
  flush(): void {
    this.#quota.flush();
  }
}
