import { join } from 'node:path';
import type { LoggerService, LogLevel } from '@nestjs/common';
import { messageOf } from '#libs/common';
import { LineTime } from './line-time.js';
import { LogFile } from './log-file.js';
import { printable } from './printable.js';

type Warn = (message: string) => void;

/** TorchServe's two files of metrics, by the context that the lines of the mode `log` have in the server's log. */
export class MetricsFiles {
  readonly #files: ReadonlyMap<unknown, LogFile>;
  readonly #time = new LineTime();

  private constructor(folder: string, warn: Warn) {
    this.#files = new Map([
      ['TS_METRICS', new LogFile(join(folder, 'ts_metrics.log'), warn)],
      ['MODEL_METRICS', new LogFile(join(folder, 'model_metrics.log'), warn)],
    ]);
  }

  /**
   * Makes the files, unless they cannot be made; the server works without.
   * @param folder where they are, made where it is missing
   * @param warn told what cannot be written
   */
  static open(folder: string, warn: Warn): MetricsFiles | undefined {
    try {
      return new MetricsFiles(folder, warn);
    } catch (error) {
      warn(
        `There are no files of metrics: ${messageOf(error)}. Let this user write into ${folder}, name another folder in METRICS_LOCATION, or set log_format=none.`,
      );
      return undefined;
    }
  }

  /** A logger for all that `logger` is for, whose metrics are written into the files, too. */
  beside(logger: LoggerService): LoggerService {
    return new ServerLog(logger, (context, line) =>
      this.#files.get(context)?.write(`${this.#time.at(Date.now())} - ${printable(line)}\n`),
    );
  }

  /** Resolves when everything is written, or cannot be. */
  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.close()));
  }
}

/** Passes everything on, and shows what is logged to `watch` first. */
class ServerLog implements LoggerService {
  constructor(
    private readonly next: LoggerService,
    private readonly watch: (context: unknown, line: string) => void,
  ) {}

  log(message: unknown, ...rest: unknown[]): void {
    if (typeof message === 'string') this.watch(rest.at(-1), message);
    this.next.log(message, ...rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.next.error(message, ...rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.next.warn(message, ...rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.next.fatal?.(message, ...rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.next.debug?.(message, ...rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.next.verbose?.(message, ...rest);
  }

  setLogLevels(levels: LogLevel[]): void {
    this.next.setLogLevels?.(levels);
  }
}
