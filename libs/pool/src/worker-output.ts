import type { Clock } from '#libs/common';
import { LineQuota, type OutputStream } from './line-quota.js';
import { OutputLines } from './output-lines.js';
import type { WorkerEvents } from './pool-worker.js';

/** Tells what the code of a thread or process prints, line by line and no more than anybody reads. */
export class WorkerOutput {
  readonly #quota: LineQuota;
  readonly #stdout = new OutputLines((text) => this.#quota.tell('stdout', text));
  readonly #stderr = new OutputLines((text) => this.#quota.tell('stderr', text));

  constructor(events: Pick<WorkerEvents, 'log'>, clock: Clock) {
    this.#quota = new LineQuota(events, clock);
  }

  push(stream: OutputStream, chunk: Buffer): void {
    (stream === 'stdout' ? this.#stdout : this.#stderr).push(chunk);
  }

  /** The worker is gone: what has no end of line is a line, too. */
  end(): void {
    this.#stdout.end();
    this.#stderr.end();
    this.#quota.flush();
  }
}
