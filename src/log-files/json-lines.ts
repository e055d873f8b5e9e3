import { pino, stdTimeFunctions, type Logger } from 'pino';
import type { ModelRef } from '#libs/common';
import type { AccessEntry } from './access-log.js';
import type { LineFormat, LineLevel, LineTarget } from './line-format.js';
import { printable } from './printable.js';

const LEVELS = { log: 'info', warn: 'warn', error: 'error' } as const;

/** One JSON object per line, as pino writes it. */
export class JsonLines implements LineFormat {
  readonly #access: VersionLoggers;
  readonly #model: VersionLoggers;

  constructor(access: LineTarget, model: LineTarget) {
    this.#access = new VersionLoggers(access);
    this.#model = new VersionLoggers(model);
  }

  access({ id, remote, method, path, status, ref, queueMs, runMs, totalMs }: AccessEntry): void {
    this.#access.of(ref).info({
      id,
      remote,
      method,
      path,
      status,
      queueMs: toMicroseconds(queueMs),
      runMs: toMicroseconds(runMs),
      totalMs: toMicroseconds(totalMs),
    });
  }

  model(ref: ModelRef, workerId: number, level: LineLevel, text: string): void {
    this.#model.of(ref)[LEVELS[level]]({ worker: workerId }, text);
  }
}

/** A logger for each version of a model: its name is made JSON once. */
class VersionLoggers {
  readonly #ofNone: Logger;
  readonly #ofVersion = new WeakMap<ModelRef, Logger>();

  constructor(target: LineTarget) {
    const options = {
      base: undefined,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level: string) => ({ level }) },
      // JSON leaves some control characters as they are.
      hooks: { streamWrite: (line: string) => `${printable(line.trimEnd())}\n` },
    };
    this.#ofNone = pino(options, target);
  }

  of(ref: ModelRef | undefined): Logger {
    if (ref === undefined) return this.#ofNone;
    let logger = this.#ofVersion.get(ref);
    if (logger === undefined) {
      logger = this.#ofNone.child({ model: ref.model, version: ref.version });
      this.#ofVersion.set(ref, logger);
    }
    return logger;
  }
}

/** Milliseconds with as many digits as mean anything. */
function toMicroseconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 1000) / 1000;
}
