import { join } from 'node:path';
import { InferenceObserver, messageOf, type ModelRef } from '#libs/common';
import { AccessLog } from './access-log.js';
import { JsonLines } from './json-lines.js';
import type { LineFormat, LineLevel } from './line-format.js';
import { LogFile } from './log-file.js';
import { TorchServeLines } from './torchserve-lines.js';

/** What the lines of the log files look like. `none`: there are no files. */
export type LogFormat = 'json' | 'torchserve' | 'none';

const FORMATS = { json: JsonLines, torchserve: TorchServeLines } as const;

/** The two files about requests and models, under TorchServe's names; the server's own log is not among them. */
export class LogFiles {
  readonly #files: readonly LogFile[];
  /** Tells of requests; whoever starts listeners shows them to it. */
  readonly access: AccessLog;

  private constructor(folder: string, format: keyof typeof FORMATS, warn: (message: string) => void) {
    const access = new LogFile(join(folder, 'access_log.log'), warn);
    const model = new LogFile(join(folder, 'model_log.log'), warn);
    this.#files = [access, model];
    const lines = new FORMATS[format](access, model);
    this.access = new AccessLog(new ModelLog(lines), (entry) => lines.access(entry));
  }

  /**
   * Makes the files, unless they are not wanted or cannot be made; the server works without.
   * @param folder where they are, made where it is missing
   * @param warn told what cannot be written
   */
  static open(folder: string, format: LogFormat, warn: (message: string) => void): LogFiles | undefined {
    if (format === 'none') return undefined;
    try {
      return new LogFiles(folder, format, warn);
    } catch (error) {
      warn(
        `There are no log files: ${messageOf(error)}. Let this user write into ${folder}, name another folder in LOG_LOCATION, or set log_format=none.`,
      );
      return undefined;
    }
  }

  /** Resolves when everything is written, or cannot be. */
  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }
}

/** Lines of workers: what handlers print, above all. */
class ModelLog extends InferenceObserver {
  constructor(private readonly lines: LineFormat) {
    super();
  }

  override get takesOutput(): boolean {
    return true;
  }

  override workerLogged(ref: ModelRef, workerId: number, level: LineLevel, text: string): void {
    this.lines.model(ref, workerId, level, text);
  }
}
