import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { MarlineError } from '#libs/common';
import { FrameReader } from './frames.js';
import { CHANNEL_FD, CHILD_FLAG } from './parent-channel.js';
import { SocketChannel } from './socket-channel.js';
import { visibleEnv, type Vessel, type VesselEvents } from './vessel.js';

/** Variables that native libraries of a worker need: a thread has them from its process. */
const NATIVE_ENV = ['LD_LIBRARY_PATH', 'CUDA_VISIBLE_DEVICES', 'NVIDIA_VISIBLE_DEVICES'];
/** Node alone takes about 50 MB; with less than this it does not start. */
const LEAST_MEMORY_MB = 96;
const KIB_PER_MB = 1024;
/** What is kept of a process's last words, to tell why it ended. */
const MAX_LAST_WORDS = 4096;
/** How long what a dead process sent is waited for: a grandchild may hold its end of the socket open. */
const DRAIN_LIMIT_MS = 1000;
/** Sets the limit of data (heap, native memory, stacks) of the shell and becomes the worker. */
const LIMITED = 'ulimit -d "$1" && shift && exec "$@"';
const OUT_OF_MEMORY = /out of memory|allocation failed|failed to allocate|bad_alloc|cannot allocate memory/i;

/** How a worker process is made. */
export interface ChildOptions {
  /** The file of the process; it calls `serveWorker`. */
  readonly entry: URL;
  /** The process's environment. By default what a thread sees, and what native libraries need; secrets stay out of it. */
  readonly env?: Record<string, string>;
  /** Memory that the process may take in all, in MB; without a limit by default. On Linux native memory counts, elsewhere the V8 heap alone. */
  readonly memoryLimitMb?: number;
  /** Shown by tools that list processes. */
  readonly name?: string;
}

/** Processes that run: none may outlive this one, not even one that hangs in native code. */
const running = new Set<ChildProcess>();
const killAll = () => {
  for (const child of running) child.kill('SIGKILL');
};

/** One running worker process: its socket, and its end. */
export class Child implements Vessel {
  readonly pid: number;
  readonly channel: SocketChannel;
  readonly #child: ChildProcess;
  readonly #events: VesselEvents;
  readonly #memoryLimitMb: number | undefined;
  #lastWords = '';
  /** Why its messages could not be read. */
  #cause: unknown;
  #exited = false;
  /** It was ended from here, so the signal tells nothing. */
  #killed = false;

  /** @throws MarlineError `OPTIONS_INVALID` when the memory limit is too small; `WORKER_DIED` when no process can be made */
  constructor(options: ChildOptions, events: VesselEvents) {
    this.#events = events;
    this.#memoryLimitMb = options.memoryLimitMb;
    const { env = visibleEnv(NATIVE_ENV) } = options;
    const [command, ...parameters] = commandOf(options);
    const stdio: StdioOptions = ['ignore', events.printed ? 'pipe' : 'inherit', 'pipe', 'pipe'];
    this.#child = spawn(command, parameters, { env, stdio });
    const socket = this.#child.stdio[CHANNEL_FD] as Socket | null | undefined;
    if (this.#child.pid === undefined || !socket) {
      this.#child.once('error', () => {});
      throw new MarlineError('WORKER_DIED', {}, { cause: new Error(`${command} could not be started.`) });
    }
    this.pid = this.#child.pid;
    this.channel = new SocketChannel(socket);
    this.#listen(socket);
  }

  tryEnd(): boolean {
    this.#killed = true;
    this.#child.kill('SIGKILL');
    return true;
  }

  #listen(socket: Socket): void {
    if (running.size === 0) process.on('exit', killAll);
    running.add(this.#child);
    const reader = new FrameReader(
      (packet) => this.#events.received(packet),
      // Not of the pool: answers belong to whoever asked.
      (byteLength) => new ArrayBuffer(byteLength),
    );
    socket.on('data', (chunk: Uint8Array) => {
      if (this.#cause !== undefined) return;
      try {
        reader.push(chunk);
      } catch (error) {
        this.#cause = error;
        this.tryEnd();
      }
    });
    // That it is gone is told by its exit.
    socket.on('error', () => {});
    this.#child.on('error', () => {});
    const { printed } = this.#events;
    this.#child.stdout?.on('data', (chunk: Buffer) => printed?.('stdout', chunk));
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      if (printed === undefined) process.stderr.write(chunk);
      else printed('stderr', chunk);
      this.#lastWords = (this.#lastWords + chunk.toString()).slice(-MAX_LAST_WORDS);
    });
    this.#child.once('exit', (code, signal) => {
      running.delete(this.#child);
      if (running.size === 0) process.off('exit', killAll);
      const drained = setTimeout(() => this.#gone(code, signal), DRAIN_LIMIT_MS);
      // Comes after the end of both streams: with the last answers and the last words.
      this.#child.once('close', () => {
        clearTimeout(drained);
        this.#gone(code, signal);
      });
    });
  }

  /** At its limit Node.js says what it lacks, or crashes without a word. */
  get #limitHint(): string {
    const limitMb = this.#memoryLimitMb;
    return limitMb === undefined ? '' : ` (its memory limit of ${limitMb} MB may be the reason)`;
  }

  #gone(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#exited) return;
    this.#exited = true;
    this.channel.socket.destroy();
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    this.#events.exited(this.#death(code, signal));
  }

  #death(code: number | null, signal: NodeJS.Signals | null): MarlineError {
    const how = signal === null ? `exit code ${code}` : `signal ${signal}${this.#limitHint}`;
    const words = this.#lastWords.trim();
    const cause =
      this.#cause ??
      new Error(`The worker process ended with ${how}${words === '' ? '.' : `; its last words: ${words}`}`);
    // The kernel's out-of-memory killer sends SIGKILL, and nobody else does unless asked.
    const outOfMemory = !this.#killed && (signal === 'SIGKILL' || (code !== 0 && OUT_OF_MEMORY.test(words)));
    return new MarlineError(outOfMemory ? 'OUT_OF_RESOURCES' : 'WORKER_DIED', {}, { cause });
  }
}

/** @throws MarlineError `OPTIONS_INVALID` */
function commandOf({ entry, memoryLimitMb, name }: ChildOptions): [command: string, ...string[]] {
  // A debugger's port can be taken only once.
  const flags = process.execArgv.filter((argument) => !argument.startsWith('--inspect'));
  if (name !== undefined) flags.push(`--title=${name}`);
  // Below the process's own limit, at which Node.js may crash without a word instead of saying what it lacks.
  if (memoryLimitMb !== undefined)
    flags.push(`--max-old-space-size=${Math.max(memoryLimitMb - LEAST_MEMORY_MB, memoryLimitMb / 4)}`);
  const parameters = [...flags, fileURLToPath(entry), CHILD_FLAG];
  if (memoryLimitMb === undefined) return [process.execPath, ...parameters];
  if (!(memoryLimitMb >= LEAST_MEMORY_MB)) {
    const reason = `A worker process needs a memoryLimitMb of at least ${LEAST_MEMORY_MB}, because Node.js alone takes half of it; got ${memoryLimitMb}.`;
    throw new MarlineError('OPTIONS_INVALID', { reason });
  }
  if (process.platform !== 'linux') return [process.execPath, ...parameters];
  const limitKib = String(Math.floor(memoryLimitMb * KIB_PER_MB));
  return ['/bin/sh', '-c', LIMITED, 'sh', limitKib, process.execPath, ...parameters];
}
