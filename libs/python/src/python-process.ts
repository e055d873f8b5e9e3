import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { MarlineError, messageOf } from '#libs/common';
import { usableInterpreter } from './interpreter.js';
import { isMetricLine } from './metric-line.js';
import { OutputLines } from './output-lines.js';
import { isReadyLine, isRoutine } from './worker-lines.js';
import { visibleEnv } from './worker-env.js';

/** How a worker process is started. */
export interface PythonProcessOptions {
  readonly id: number;
  /** A path, or a name that the system looks up. */
  readonly interpreter: string;
  /** The unpacked archive: the process works there, and finds its modules there. */
  readonly archiveDir: string;
  /** Variables of this process's environment that the worker sees beside those that Python needs. */
  readonly env: readonly string[];
  readonly socket: 'unix' | 'tcp';
  /** Starts a worker that reads on while its handler, a coroutine, is at work. */
  readonly async?: boolean;
  /** False leaves JSON and texts to the handler as the bytes that they came as. */
  readonly decodeInputRequest: boolean;
  /** Memory that the process may take in all, in MB; without a limit by default. Counts on Linux only. */
  readonly memoryLimitMb?: number;
}

/** What a process tells the one who started it. */
export interface PythonProcessEvents {
  /** It accepted the connection: frames may be sent. */
  connected(socket: Socket): void;
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
/** The kernel ends the worker when this process ends, however that happens. Then it limits itself and becomes the worker. */
const BOOT = `
import ctypes, os, resource, signal, sys
parent, limit = int(sys.argv[1]), int(sys.argv[2])
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit(1)
if limit > 0:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
os.execv(sys.executable, [sys.executable] + sys.argv[3:])`;

/** Processes that run: none may outlive this one, not even one that hangs in a handler. */
const running = new Set<PythonProcess>();
const killAll = () => {
  for (const child of running) child.kill();
};

/**
 * One process of TorchServe's unmodified `ts/model_service_worker.py`: its start, its socket in a folder of its own, its
 * output and its end. It leads a group of its own, so that what a handler started ends with it.
 */
export class PythonProcess {
  readonly #options: PythonProcessOptions;
  readonly #events: PythonProcessEvents;
  #child: ChildProcess | undefined;
  #socket: Socket | undefined;
  #folder: string | undefined;
  #lastWords = '';
  /** It was ended from here, so the signal tells nothing. */
  #killed = false;
  #isReady = false;
  #exited = false;

  constructor(options: PythonProcessOptions, events: PythonProcessEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Its process id, once it was started. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** @throws MarlineError `RUNTIME_UNSUPPORTED`, `OPTIONS_INVALID`, `WORKER_DIED` when the process cannot be started */
  async start(): Promise<void> {
    const { interpreter, memoryLimitMb, archiveDir, env, decodeInputRequest, async } = this.#options;
    if (memoryLimitMb !== undefined && memoryLimitMb < LEAST_MEMORY_MB) {
      const reason = `A Python worker needs a memoryLimitMb of at least ${LEAST_MEMORY_MB}, because PyTorch alone takes half of it; got ${memoryLimitMb}.`;
      throw new MarlineError('OPTIONS_INVALID', { reason });
    }
    const { command, torchServeDir } = await usableInterpreter(interpreter);
    if (this.#killed) throw new MarlineError('SHUTTING_DOWN');
    const address = await this.#address();
    const script = [
      join(torchServeDir, 'model_service_worker.py'),
      ...('path' in address
        ? ['--sock-type', 'unix', '--sock-name', address.path]
        : ['--sock-type', 'tcp', '--port', String(address.port)]),
      '--metrics-config',
      join(torchServeDir, 'configs', 'metrics.yaml'),
      ...(async === true ? ['--async'] : []),
    ];
    const limitBytes = Math.floor((memoryLimitMb ?? 0) * BYTES_PER_MB);
    const boot = ['-I', '-S', '-c', BOOT, String(process.pid), String(limitBytes)];
    this.#child = spawn(command, process.platform === 'linux' ? [...boot, ...script] : script, {
      cwd: archiveDir,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...visibleEnv(env),
        PYTHONPATH: pythonPath(archiveDir, torchServeDir),
        // The unpacked archive is shared by all who serve it.
        PYTHONDONTWRITEBYTECODE: '1',
        PYTHONUNBUFFERED: '1',
        TS_DECODE_INPUT_REQUEST: String(decodeInputRequest),
        TS_IPEX_ENABLE: 'false',
        TS_IPEX_GPU_ENABLE: 'false',
      },
    });
    this.#listen(this.#child, address);
  }

  /** Ends it and all that it started, now. */
  kill(): void {
    this.#killed = true;
    this.#signalGroup();
  }

  /** Ends the connection: a worker that is idle ends itself then, unless it is an asynchronous one, whose threads would stay. */
  close(): void {
    this.#killed = true;
    if (this.#socket === undefined || this.#options.async === true) this.#signalGroup();
    else this.#socket.destroy();
  }

  async #address(): Promise<{ readonly path: string } | { readonly port: number }> {
    if (this.#options.socket === 'tcp') return { port: await freePort() };
    this.#folder = mkdtempSync(join(tmpdir(), 'marline-py-'));
    const path = join(this.#folder, `.ts.sock.${this.#options.id}`);
    if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return { path };
    this.#removeFolder();
    throw new MarlineError('OPTIONS_INVALID', {
      reason: `The path of the worker's socket would be longer than ${MAX_SOCKET_PATH} bytes: set TMPDIR to a shorter path, or pythonSocket to tcp.`,
    });
  }

  #listen(child: ChildProcess, address: { path: string } | { port: number }): void {
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

  #line(stream: 'stdout' | 'stderr', text: string, address: { path: string } | { port: number }): void {
    if (this.#exited) return;
    if (!this.#isReady && stream === 'stdout' && isReadyLine(text)) {
      this.#isReady = true;
      this.#connect(address);
    }
    if (!isRoutine(text) && !isMetricLine(text))
      this.#lastWords = `${this.#lastWords}\n${text}`.slice(-MAX_LAST_WORDS);
    this.#events.line(stream, text);
  }

  #connect(address: { path: string } | { port: number }): void {
    const socket = connect('path' in address ? address : { ...address, host: '127.0.0.1' });
    this.#socket = socket;
    socket.setNoDelay(true);
    // That it is gone is told by its exit.
    socket.on('error', () => {});
    socket.once('close', () => {
      setTimeout(() => this.kill(), LINGER_LIMIT_MS).unref();
    });
    socket.once('connect', () => this.#events.connected(socket));
  }

  #signalGroup(): void {
    const { pid } = this;
    // Later the number may be another's.
    if (pid === undefined || this.#exited) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It is gone already.
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
    this.#socket?.destroy();
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

/** Where Python looks for modules: as TorchServe's front end sets it. */
function pythonPath(archiveDir: string, torchServeDir: string): string {
  const home = dirname(torchServeDir);
  const installed = /(site|dist)-packages$/.test(home);
  return [process.env['PYTHONPATH'], realpathSync(archiveDir), installed ? undefined : home]
    .filter((path) => path !== undefined && path !== '')
    .join(delimiter);
}

/** A port that was free a moment ago: a worker can only be told which one to take. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
