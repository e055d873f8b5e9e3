import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MarlineError, messageOf } from '#libs/common';
import { OutputLines } from '#libs/pool';
import { usableInterpreter } from './interpreter.js';
import { isMetricLine } from './metric-line.js';
import type { RankGroup } from './torchrun.js';
import { workerArguments, type CommandOptions, type WorkerAddress } from './worker-command.js';
import { workerEnv, type EnvOptions } from './worker-env.js';
import { isReadyLine, isRoutine } from './worker-lines.js';
import { freePorts, rankAddress } from './worker-socket.js';

/** How a worker process is started. It works in the folder of the archive, and finds its modules there. */
export interface PythonProcessOptions extends Omit<EnvOptions, 'visibleDevices'> {
  readonly id: number;
  /** A path, or a name that the system looks up. */
  readonly interpreter: string;
  readonly socket: 'unix' | 'tcp';
  /** Starts a worker that reads on while its handler, a coroutine, is at work. */
  readonly async?: boolean;
  /** Present for a worker that is a group of processes. */
  readonly group?: RankGroup;
  /** The yaml file of metrics that a handler finds in its context; that of the `torchserve` package by default. */
  readonly metricsConfig?: string;
  /** Memory that one process may take, in MB; without a limit by default. Counts on Linux only. */
  readonly memoryLimitMb?: number;
}

/** What a process tells the one who started it. */
export interface PythonProcessEvents {
  /** Every rank accepted its connection, in their order: frames may be sent. */
  connected(sockets: readonly Socket[]): void;
  line(stream: 'stdout' | 'stderr', text: string): void;
  /** It is gone, and all that it printed was told. `error` says how it ended, with the cause. */
  exited(error: MarlineError): void;
}

/** PyTorch alone takes more than half of it; with less no worker starts. */
const LEAST_MEMORY_MB = 512;
const BYTES_PER_MB = 2 ** 20;
/** `sun_path` has 108 bytes on Linux and 104 elsewhere, with a zero at its end. */
const MAX_SOCKET_PATH = 103;
/** What is kept of a process's last words, to tell why it ended. */
const MAX_LAST_WORDS = 1500;
/** How long a worker without a connection may take to end itself: its exit code tells more than that it was killed. */
const LINGER_LIMIT_MS = 2000;
/** How long the output of a dead process is waited for: a grandchild may hold its end of the pipe open. */
const DRAIN_LIMIT_MS = 1000;
/** What a shell calls an end by SIGKILL; TorchServe takes it for a lack of memory. */
const KILLED = 128 + 9;
const INSUFFICIENT_STORAGE = 507;
/** Processes that run: none may outlive this one, not even one that hangs in a handler. */
const running = new Set<PythonProcess>();
const killAll = () => {
  for (const child of running) child.kill();
};

/**
 * One process of TorchServe's unmodified `ts/model_service_worker.py`, or torchrun with several of them: its start, its sockets
 * in a folder of its own, its output and its end. It leads a group of its own, so that what a handler started ends with it.
 */
export class PythonProcess {
  readonly #options: PythonProcessOptions;
  readonly #events: PythonProcessEvents;
  #child: ChildProcess | undefined;
  readonly #sockets: Socket[] = [];
  /** The groups that ranks lead: torchrun gives each a session of its own. */
  #rankPids: readonly number[] = [];
  #folder: string | undefined;
  #lastWords = '';
  /** It was ended from here, so the signal tells nothing. */
  #killed = false;
  #ready = 0;
  #exited = false;

  constructor(options: PythonProcessOptions, events: PythonProcessEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Its process id, once it was started. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * @param visibleDevices what `CUDA_VISIBLE_DEVICES` is for it; when absent as for this process
   * @throws MarlineError `RUNTIME_UNSUPPORTED`, `OPTIONS_INVALID`, `WORKER_DIED` when the process cannot be started
   */
  async start(visibleDevices?: string): Promise<void> {
    const { interpreter, memoryLimitMb } = this.#options;
    if (memoryLimitMb !== undefined && memoryLimitMb < LEAST_MEMORY_MB) {
      const reason = `A Python worker needs a memoryLimitMb of at least ${LEAST_MEMORY_MB}, because PyTorch alone takes half of it; got ${memoryLimitMb}.`;
      throw new MarlineError('OPTIONS_INVALID', { reason });
    }
    const { command, torchServeDir } = await usableInterpreter(interpreter);
    const folder = (this.#folder = mkdtempSync(join(tmpdir(), 'marline-py-')));
    try {
      const address = await this.#address(folder);
      // It may have been given up meanwhile.
      if (this.#killed) throw new MarlineError('SHUTTING_DOWN');
      const env = workerEnv({ ...this.#options, visibleDevices }, torchServeDir);
      this.#spawn({ interpreter: command, torchServeDir, address, folder }, env);
    } catch (error) {
      this.#removeFolder();
      throw error;
    }
  }

  #spawn(
    place: Pick<CommandOptions, 'interpreter' | 'torchServeDir' | 'address' | 'folder'>,
    env: Record<string, string>,
  ): void {
    const { archiveDir, memoryLimitMb = 0 } = this.#options;
    const limitBytes = Math.floor(memoryLimitMb * BYTES_PER_MB);
    this.#child = spawn(place.interpreter, workerArguments({ ...this.#options, ...place, limitBytes }), {
      cwd: archiveDir,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env,
    });
    this.#listen(this.#child, place.address);
  }

  /** Ends it and all that it started, now. */
  kill(): void {
    this.#killed = true;
    this.#signalGroup();
  }

  /** Ends the connection: a worker that is idle ends itself then, unless it is an asynchronous one, whose threads would stay. */
  close(): void {
    this.#killed = true;
    if (this.#sockets.length === 0 || this.#options.async === true) this.#signalGroup();
    else for (const socket of this.#sockets) socket.destroy();
  }

  get #rankCount(): number {
    return this.#options.group?.ranks ?? 1;
  }

  async #address(folder: string): Promise<WorkerAddress> {
    const { id, socket } = this.#options;
    if (socket === 'tcp') return { port: await freePorts(this.#rankCount) };
    const path = join(folder, `.ts.sock.${id}`);
    if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return { path };
    throw new MarlineError('OPTIONS_INVALID', {
      reason: `The path of the worker's socket would be longer than ${MAX_SOCKET_PATH} bytes: set TMPDIR to a shorter path, or pythonSocket to tcp.`,
    });
  }

  #listen(child: ChildProcess, address: WorkerAddress): void {
    if (running.size === 0) process.on('exit', killAll);
    running.add(this);
    const stdout = new OutputLines((text) => this.#line('stdout', text, address));
    const stderr = new OutputLines((text) => this.#line('stderr', text, address));
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    const gone = (code: number | null, signal: NodeJS.Signals | null) => {
      stdout.end();
      stderr.end();
      this.#gone(code, signal);
    };
    child.once('error', (error) => {
      this.#lastWords = messageOf(error);
      this.#gone(null, null);
    });
    child.once('exit', (code, signal) => {
      // What a handler started must not go on without it.
      this.#signalGroup();
      const drained = setTimeout(() => gone(code, signal), DRAIN_LIMIT_MS);
      // Comes after the end of both streams: with the last words.
      child.once('close', () => {
        clearTimeout(drained);
        gone(code, signal);
      });
    });
  }

  #line(stream: 'stdout' | 'stderr', text: string, address: WorkerAddress): void {
    if (this.#exited) return;
    if (this.#ready < this.#rankCount && stream === 'stdout' && isReadyLine(text)) {
      this.#ready += 1;
      if (this.#ready === this.#rankCount) this.#connect(address);
    }
    if (!isRoutine(text) && !isMetricLine(text))
      this.#lastWords = `${this.#lastWords}\n${text}`.slice(-MAX_LAST_WORDS);
    this.#events.line(stream, text);
  }

  #connect(address: WorkerAddress): void {
    if (this.#options.group !== undefined) this.#rankPids = childrenOf(this.pid);
    let missing = this.#rankCount;
    for (let rank = 0; rank < this.#rankCount; rank += 1) {
      const socket = connect(rankAddress(address, rank));
      this.#sockets.push(socket);
      socket.setNoDelay(true);
      // That it is gone is told by its exit.
      socket.on('error', () => {});
      socket.once('close', () => {
        setTimeout(() => this.kill(), LINGER_LIMIT_MS).unref();
      });
      socket.once('connect', () => {
        missing -= 1;
        if (missing === 0) this.#events.connected(this.#sockets);
      });
    }
  }

  #signalGroup(): void {
    const { pid } = this;
    // Later the number may be another's.
    if (pid === undefined || this.#exited) return;
    for (const leader of [pid, ...this.#rankPids]) {
      try {
        process.kill(-leader, 'SIGKILL');
      } catch {
        // It is gone already.
      }
    }
  }

  #removeFolder(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  #gone(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#exited) return;
    this.#exited = true;
    running.delete(this);
    if (running.size === 0) process.off('exit', killAll);
    for (const socket of this.#sockets) socket.destroy();
    this.#removeFolder();
    this.#events.exited(this.#death(code, signal));
  }

  #death(code: number | null, signal: NodeJS.Signals | null): MarlineError {
    const how =
      signal === null ? (code === null ? 'before it ran' : `with exit code ${code}`) : `by ${signal}`;
    const words = this.#lastWords.trim();
    const cause = new Error(
      `The Python worker ended ${how}${words === '' ? '.' : `; its last words: ${words}`}`,
    );
    const outOfMemory = !this.#killed && (signal === 'SIGKILL' || code === KILLED);
    return new MarlineError('WORKER_DIED', outOfMemory ? { status: INSUFFICIENT_STORAGE } : {}, { cause });
  }
}

/** The processes that `pid` has started; none where the system does not tell. */
function childrenOf(pid: number | undefined): number[] {
  try {
    const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return listed === '' ? [] : listed.split(' ').map(Number);
  } catch {
    return [];
  }
}
