import { mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { pino } from 'pino';
import { messageOf } from '#libs/common';
import type { LineTarget } from './line-format.js';

/** Lines are written together, when they are so many characters or so old. */
const BATCH_LENGTH = 64 * 1024;
const BATCH_MS = 250;
/** Bytes that wait for a slow or full disk; further lines are dropped. */
const MOST_WAITING = 8 * 1024 * 1024;
/** As TorchServe's: a full file is put aside, and so many of those are kept. */
const MOST_BYTES = 100 * 1024 * 1024;
const MOST_OLD_FILES = 5;
const WARNING_PAUSE_MS = 60_000;

type Destination = ReturnType<typeof pino.destination>;

/**
 * A file that lines are added to without waiting for the disk. A disk that is full or slow costs lines at worst, never a request. What is
 * no regular file, such as a link to /dev/stdout, is never full.
 *
 * Batches go to a destination of pino's, one for each file: it would never end if it were ended while it reopens its file. They
 * are collected here, because at the exit of the process a destination tries for ever to write what it holds to a full disk
 * (docs/decisions/0019).
 */
export class LogFile implements LineTarget {
  #fd: number;
  #destination: Destination;
  #bytes: number;
  #lines = '';
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** Whoever read it is gone: its destination does nothing any more, and does not end. */
  #unread = false;
  /** Resolves when the files that were put aside are whole. */
  #ended: Promise<unknown> = Promise.resolve();
  #quietUntil = 0;
  readonly #onExit = () => this.#writeAtOnce();

  /**
   * Makes the folder and the file where they are missing.
   * @param warn told what the disk refuses, at most once a minute
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
    this.#destination = this.#destinationOf(this.#fd);
    // Before pino's own.
    process.prependListener('exit', this.#onExit);
  }

  /** Adds a line, which ends in a line feed. Nothing happens after {@link close}. */
  write(line: string): void {
    if (this.#closed) return;
    this.#lines += line;
    if (this.#lines.length >= BATCH_LENGTH) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS).unref();
  }

  /** Resolves when all lines are written, or cannot be. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#flush();
    await Promise.all([this.#ended, this.#end(this.#destination)]);
    process.off('exit', this.#onExit);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#lines === '') return;
    const batch = this.#lines;
    this.#lines = '';
    this.#putAsideIfFull();
    this.#bytes += Buffer.byteLength(batch);
    this.#destination.write(batch);
  }

  #destinationOf(fd: number): Destination {
    // With a minimum of 0 its flush would do nothing.
    const destination = pino.destination({ fd, sync: false, minLength: 1, maxLength: MOST_WAITING });
    return destination
      .on('drop', () => {
        this.#tell(`Lines of ${this.path} are lost: too many wait for the disk.`);
        // What failed is tried again with each batch that it takes, and it takes no more.
        destination.flush();
      })
      .on('error', (error: NodeJS.ErrnoException) => {
        this.#unread ||= error.code === 'EPIPE';
        this.#tell(`Lines of ${this.path} cannot be written: ${messageOf(error)}.`);
      });
  }

  /** Resolves when everything that a destination has is written, or cannot be. */
  #end(destination: Destination): Promise<void> {
    if (this.#unread) return Promise.resolve();
    return new Promise((resolve) => {
      destination
        .once('close', resolve)
        .once('error', () => {
          destination.destroy();
          resolve();
        })
        .end();
    });
  }

  #writeAtOnce(): void {
    this.#destination.destroy();
    try {
      if (this.#lines !== '') writeSync(this.#fd, this.#lines);
    } catch (error) {
      this.#tell(`Lines of ${this.path} are lost: ${messageOf(error)}.`);
    }
  }

  #putAsideIfFull(): void {
    if (this.#bytes <= this.mostBytes) return;
    try {
      // The file as it is decides: whoever else looks after log files may have emptied it, or taken it away.
      const size = sizeOf(this.path);
      if (size !== undefined && size <= this.mostBytes) {
        this.#bytes = size;
        return;
      }
      if (size !== undefined) putAside(this.path);
      const full = this.#destination;
      this.#fd = openLog(this.path);
      this.#destination = this.#destinationOf(this.#fd);
      this.#bytes = 0;
      this.#ended = Promise.all([this.#ended, this.#end(full)]);
    } catch (error) {
      this.#tell(`${this.path} is full and cannot be put aside: ${messageOf(error)}. It grows.`);
    }
  }

  /** @param message what is wrong with the disk */
  #tell(message: string): void {
    const now = performance.now();
    if (now < this.#quietUntil) return;
    this.#quietUntil = now + WARNING_PAUSE_MS;
    this.warn(`${message} Requests are served all the same.`);
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

/** Makes `path` free: it becomes `path.1`, that `path.2`, and so on; the last one goes. */
function putAside(path: string): void {
  for (let number = MOST_OLD_FILES - 1; number >= 1; number--)
    renameIfThere(`${path}.${number}`, `${path}.${number + 1}`);
  renameIfThere(path, `${path}.1`);
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
