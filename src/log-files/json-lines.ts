import type { ModelRef } from '#libs/common';
import type { AccessEntry } from './access-log.js';
import type { LineFormat, LineLevel } from './line-format.js';
import { LineTime, utcPrefix } from './line-time.js';
import { printable } from './printable.js';

const LEVELS = { log: 'info', warn: 'warn', error: 'error' } as const;

/**
 * One JSON object per line. A line about a request is put together by hand: JSON.stringify, or pino, takes six times as long for it
 * (docs/decisions/0019), and what stands in it needs no escapes.
 */
export class JsonLines implements LineFormat {
  readonly #time = new LineTime(utcPrefix);
  readonly #models = new WeakMap<ModelRef, string>();

  access(entry: AccessEntry): string {
    const { id, remote, method, path, status, ref, queueMs, runMs, totalMs } = entry;
    let line = `{"time":"${this.#time.now()}Z"`;
    if (id !== undefined) line += `,"id":"${id}"`;
    if (remote !== undefined) line += `,"remote":"${remote}"`;
    line += `,"method":"${method}","path":"${path}","status":${status}`;
    if (ref !== undefined) line += this.#model(ref);
    if (queueMs !== undefined) line += `,"queueMs":${toMicroseconds(queueMs)}`;
    if (runMs !== undefined) line += `,"runMs":${toMicroseconds(runMs)}`;
    return `${line},"totalMs":${toMicroseconds(totalMs)}}\n`;
  }

  model(ref: ModelRef, workerId: number, level: LineLevel, text: string): string {
    const start = `{"time":"${this.#time.now()}Z","level":"${LEVELS[level]}"${this.#model(ref)}`;
    return `${start},"worker":${workerId},"text":${quoted(text)}}\n`;
  }

  #model(ref: ModelRef): string {
    let text = this.#models.get(ref);
    if (text === undefined) {
      text = `,"model":${quoted(ref.model)},"version":${quoted(ref.version)}`;
      this.#models.set(ref, text);
    }
    return text;
  }
}

/** JSON leaves some control characters as they are. */
function quoted(text: string): string {
  return printable(JSON.stringify(text));
}

/** Milliseconds with as many digits as mean anything. */
function toMicroseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
