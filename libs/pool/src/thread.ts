import {
  MessageChannel,
  Worker,
  receiveMessageOnPort,
  type MessagePort,
  type ResourceLimits,
} from 'node:worker_threads';
import { MarlineError, type BatchItem } from '#libs/common';
import { NativeGate } from './native-gate.js';
import type { FromWorker, ThreadData, ToWorker } from './protocol.js';
import { post } from './transfer.js';

/** What of the process's environment a thread sees: code of archives runs there, and secrets are none of its business. */
const VISIBLE_ENV = ['TZ', 'LANG', 'LC_ALL', 'NODE_ENV', 'TMPDIR'] as const;

/** How a thread is made. */
export interface ThreadOptions {
  /** The file of the thread; it calls `serveWorker`. */
  readonly entry: URL;
  /**
   * The thread's `process.env`. By default TZ, LANG, LC_ALL, NODE_ENV and TMPDIR of this process and nothing else. It keeps
   * secrets out of sight of careless code; it is no sandbox.
   */
  readonly env?: Record<string, string>;
  /** Bounds of the thread's V8 heap; native memory is not bounded. V8's defaults unless given. */
  readonly resourceLimits?: ResourceLimits;
  /** Shown by debuggers and profilers. */
  readonly name?: string;
}

/** What a thread tells the one who made it. */
export interface ThreadEvents<Info> {
  message(message: FromWorker<Info>): void;
  /** The thread is gone, and every message it sent was told. `error` says how it ended, with the cause. */
  exited(error: MarlineError): void;
}

/** One running thread: its port, its end, and the gate that must be won before it is terminated. */
export class Thread<Model, Info> {
  readonly #gate = new NativeGate();
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #events: ThreadEvents<Info>;
  /** What an uncaught exception or a full heap said before the thread ended. */
  #cause: unknown;

  /** @throws Error when no thread can be made */
  constructor(options: ThreadOptions, events: ThreadEvents<Info>) {
    const { entry, env = visibleEnv(), resourceLimits, name } = options;
    const { port1, port2 } = new MessageChannel();
    const workerData: ThreadData = { port: port2, gate: this.#gate.memory };
    this.#worker = new Worker(entry, {
      workerData,
      transferList: [port2],
      env,
      ...(name !== undefined && { name }),
      ...(resourceLimits && { resourceLimits }),
    });
    this.#port = port1;
    this.#events = events;
    port1.on('message', (message: FromWorker<Info>) => events.message(message));
    this.#worker.on('error', (error) => {
      this.#cause = error;
    });
    this.#worker.on('exit', (code) => this.#exited(code));
  }

  /** @throws DataCloneError when the message cannot be cloned */
  send(message: ToWorker<Model>): void {
    this.#port.postMessage(message);
  }

  /** Posts a batch and moves its buffers. @throws DataCloneError when an item cannot be cloned */
  sendBatch(items: readonly BatchItem[], transfer: ReadonlySet<ArrayBuffer>): void {
    post(this.#port, { type: 'run', items } satisfies ToWorker<Model>, transfer);
  }

  /** Ends the thread unless native code runs in it; then it stops after that call, and this is to be called again. */
  tryTerminate(): boolean {
    const won = this.#gate.tryEnd();
    if (won) void this.#worker.terminate();
    return won;
  }

  #exited(code: number): void {
    // Node delivers what a worker's own channel held before the exit event, but not what another port holds.
    for (;;) {
      const last: { message: FromWorker<Info> } | undefined = receiveMessageOnPort(this.#port);
      if (last === undefined) break;
      this.#events.message(last.message);
    }
    this.#port.close();
    const cause = this.#cause ?? new Error(`The worker thread ended with exit code ${code}.`);
    const outOfMemory = (cause as { code?: unknown }).code === 'ERR_WORKER_OUT_OF_MEMORY';
    this.#events.exited(new MarlineError(outOfMemory ? 'OUT_OF_RESOURCES' : 'WORKER_DIED', {}, { cause }));
  }
}

function visibleEnv(): Record<string, string> {
  return Object.fromEntries(
    VISIBLE_ENV.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
