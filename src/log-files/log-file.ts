import {
  closeSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  write as writeCallback,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '#libs/common';

const write = promisify(writeCallback);

/** Lines are written together, when they are so many characters or so old. */
const BATCH_LENGTH = 64 * 1024;
const BATCH_MS = 250;
/** Characters that wait for a slow disk; further lines are dropped. */
const MOST_WAITING = 8 * 1024 * 1024;
/** As TorchServe's: a full file is put aside, and so many of those are kept. */
const MOST_BYTES = 100 * 1024 * 1024;
const MOST_OLD_FILES = 5;
const WARNING_PAUSE_MS = 60_000;

/**
 * A file that lines are added to without waiting for the disk. A disk that is full or slow costs lines, never a request. What is
 * no regular file, such as a link to /dev/stdout, is never full.
 */
export class LogFile {
  #fd: number;
  #bytes: number;
  #waiting = '';
  #timer: NodeJS.Timeout | undefined;
  /** Present while the disk has something to do. */
  #writing: Promise<void> | undefined;
  #closed = false;
  #quietUntil = 0;
  readonly #onExit = () => this.#writeAtOnce();

  /**
   * Makes the folder and the file where they are missing.
   * @param warn told that lines are lost, and why, at most once a minute
   * @param mostBytes when the file is full; 100 MB by default
   * @throws what the file system says when the file cannot be written
   */
  constructor(
    private readonly path: string,
    private readonly warn: (message: string) => void,
    private readonly mostBytes = MOST_BYTES,
  ) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#fd = openLog(path);
    this.#bytes = sizeOf(path) ?? 0;
    process.once('exit', this.#onExit);
  }

  /** Adds a line, which ends in a line feed. Nothing happens after {@link close}. */
  write(line: string): void {
    if (this.#closed) return;
    if (this.#waiting.length > MOST_WAITING) return this.#tell('the disk is too slow');
    this.#waiting += line;
    this.#schedule();
  }

  /** Resolves when all lines are written, or cannot be. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    do {
      this.#flush();
      await this.#writing;
    } while (this.#waiting !== '' || this.#writing !== undefined);
    process.off('exit', this.#onExit);
    closeSync(this.#fd);
  }

  #schedule(): void {
    if (this.#waiting.length >= BATCH_LENGTH) this.#flush();
    else if (this.#waiting !== '') this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS).unref();
  }

  /** One batch at a time: their order is that of the lines. */
  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#writing !== undefined || this.#waiting === '') return;
    const batch = Buffer.from(this.#waiting);
    this.#waiting = '';
    this.#writing = this.#append(batch).finally(() => {
      this.#writing = undefined;
      this.#schedule();
    });
  }

  async #append(batch: Buffer): Promise<void> {
    try {
      if (this.#bytes > this.mostBytes) this.#putAside();
      for (let at = 0; at < batch.length;) {
        const { bytesWritten } = await write(this.#fd, batch, at);
        at += bytesWritten;
        this.#bytes += bytesWritten;
      }
    } catch (error) {
      this.#tell(messageOf(error));
    }
  }

  #writeAtOnce(): void {
    try {
      if (!this.#closed) writeSync(this.#fd, this.#waiting);
    } catch (error) {
      this.#tell(messageOf(error));
    }
  }

  /** The file as it is decides: whoever else looks after log files may have emptied it, or taken it away. */
  #putAside(): void {
    const size = sizeOf(this.path);
    this.#bytes = size ?? 0;
    if (size !== undefined && size <= this.mostBytes) return;
    for (let number = MOST_OLD_FILES - 1; number >= 1; number--)
      renameIfThere(`${this.path}.${number}`, `${this.path}.${number + 1}`);
    renameIfThere(this.path, `${this.path}.1`);
    const full = this.#fd;
    this.#fd = openLog(this.path);
    this.#bytes = 0;
    closeSync(full);
  }

  #tell(reason: string): void {
    const now = performance.now();
    if (now < this.#quietUntil) return;
    this.#quietUntil = now + WARNING_PAUSE_MS;
    this.warn(`Lines of ${this.path} are lost: ${reason}. Requests are served all the same.`);
  }
}

function openLog(path: string): number {
  return openSync(path, 'a', 0o640);
}

/** @returns 0 for what is no regular file, `undefined` when nothing is there */
function sizeOf(path: string): number | undefined {
  const file = statSync(path, { throwIfNoEntry: false });
  return file === undefined || file.isFile() ? file?.size : 0;
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
