import type { ModelRef } from '#libs/common';
import type { AccessEntry } from './access-log.js';
import type { LineFormat, LineLevel, LineTarget } from './line-format.js';
import { LineTime } from './line-time.js';
import { printable } from './printable.js';

const LEVELS = { log: '[INFO ]', warn: '[WARN ]', error: '[ERROR]' } as const;

/** The lines of TorchServe's `access_log.log` and `model_log.log`. */
export class TorchServeLines implements LineFormat {
  readonly #time = new LineTime();

  constructor(
    private readonly accessLog: LineTarget,
    private readonly modelLog: LineTarget,
  ) {}

  /** @example '2026-11-22T16:32:55,136 - /127.0.0.1:56842 "GET /ping HTTP/1.1" 200 7\n' */
  access({ remote, method, path, httpVersion, status, totalMs }: AccessEntry): void {
    // TorchServe's name of a peer without a port.
    const peer = remote === undefined ? '127.0.0.1' : `/${remote}`;
    this.accessLog.write(
      `${this.#now()} - ${peer} "${method} ${path} HTTP/${httpVersion}" ${status} ${Math.floor(totalMs)}\n`,
    );
  }

  /** @example '2026-11-22T16:32:50,717 [INFO ] W-9000-echo_1.0-stdout MODEL_LOG - Torch worker started.\n' */
  model({ model, version }: ModelRef, workerId: number, level: LineLevel, text: string): void {
    const thread = `W-${workerId}-${printable(`${model}_${version}`)}-${level === 'log' ? 'stdout' : 'stderr'}`;
    this.modelLog.write(`${this.#now()} ${LEVELS[level]} ${thread} MODEL_LOG - ${printable(text)}\n`);
  }

  #now(): string {
    return this.#time.at(Date.now());
  }
}
