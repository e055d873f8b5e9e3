import { setPriority } from 'node:os';
import { workerData, type MessagePort } from 'node:worker_threads';
import {
  encodeError,
  messageOf,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type HandlerMetric,
} from '#libs/common';
import { NativeGate } from './native-gate.js';
import { Outbox } from './outbox.js';
import { isPermanent, type FromWorker, type LogLevel, type ThreadData, type ToWorker } from './protocol.js';

/** What a worker has loaded: a model that runs batches. */
export interface WorkerEngine<Info> {
  /** What the pool learns when the worker is ready; structured-cloneable. */
  readonly info: Info;

  /** Runs one batch and settles every item. Never rejects. Called again only after it has resolved. */
  run(items: readonly BatchItem[], sink: BatchSink): Promise<void>;

  /** The caller of an item is gone; its chunks are dropped already. */
  cancel?(itemId: string): void;

  /** Releases the model. Called once, when no batch runs. */
  close(): Promise<void>;
}

/** What the thread offers to the code that it loads. */
export interface WorkerHost {
  /**
   * Runs a call into native code (creating, running or releasing a session): the thread is not terminated before the
   * promise settles. Keep JavaScript of others out of it. Never returns when the thread is being terminated.
   */
  native<T>(call: () => Promise<T>): Promise<T>;
  /**
   * Gives the buffer of an input back, so that it carries another request. Call it when nothing of the engine looks at the
   * buffer any more; it leaves the thread when the batch is over. What was moved on already is ignored.
   */
  recycle(buffer: ArrayBuffer): void;
  metric(metric: HandlerMetric): void;
  log(level: LogLevel, text: string): void;
}

/**
 * Loads the model that `PoolWorker.start` was given, and warms it up. An error whose code says that the model, its handler
 * or its options are wrong is permanent; any other is transient, and the pool tries again.
 */
export type LoadModel<Model, Info> = (model: Model, host: WorkerHost) => Promise<WorkerEngine<Info>>;

/**
 * Makes the running file a worker thread's entry. Call it once, at the top level of the file that `ThreadWorker` starts.
 *
 * @throws Error outside a thread that a `ThreadWorker` started
 */
export function serveWorker<Model, Info>(load: LoadModel<Model, Info>): void {
  const { port, gate } = (workerData ?? {}) as Partial<ThreadData>;
  if (port === undefined || gate === undefined) {
    throw new Error(
      'serveWorker() runs in a thread that ThreadWorker started: pass the URL of this file as its `entry`.',
    );
  }
  lowerPriority();
  new ThreadServer<Model, Info>(load, port, new NativeGate(gate)).listen();
}

class ThreadServer<Model, Info> {
  readonly #load: LoadModel<Model, Info>;
  readonly #port: MessagePort;
  readonly #gate: NativeGate;
  readonly #outbox: Outbox;
  #engine: WorkerEngine<Info> | undefined;
  #running = false;
  #stopping = false;

  constructor(load: LoadModel<Model, Info>, port: MessagePort, gate: NativeGate) {
    this.#load = load;
    this.#port = port;
    this.#gate = gate;
    this.#outbox = new Outbox(port);
  }

  listen(): void {
    this.#port.on('message', (message: ToWorker<Model>) => this.#receive(message));
    // Answers of the tick in which a handler calls process.exit() or throws are not lost with it.
    process.once('exit', () => this.#outbox.flush());
    this.#gate.leave();
  }

  #receive(message: ToWorker<Model>): void {
    switch (message.type) {
      case 'start':
        void this.#start(message.model);
        break;
      case 'run':
        void this.#run(message.items);
        break;
      case 'credit':
        this.#outbox.credit(message.id);
        break;
      case 'cancel':
        this.#outbox.cancel(message.id);
        this.#engine?.cancel?.(message.id);
        break;
      case 'stop':
        this.#stopping = true;
        if (!this.#running) void this.#close();
        break;
    }
  }

  async #start(model: Model): Promise<void> {
    try {
      this.#engine = await this.#load(model, this.#host());
      this.#post({ type: 'ready', info: this.#engine.info });
    } catch (error) {
      const encoded = encodeError(error);
      this.#outbox.flush();
      this.#post({ type: 'failed', permanent: isPermanent(encoded.code), error: encoded });
      this.#port.close();
    }
  }

  #host(): WorkerHost {
    return {
      native: (call) => this.#gate.hold(call),
      recycle: (buffer) => this.#outbox.recycle(buffer),
      metric: (metric) => this.#outbox.push({ type: 'metric', metric }),
      log: (level, text) => {
        this.#outbox.push({ type: 'log', level, text });
        // A line about what is going wrong must not wait for the tick that goes wrong.
        this.#outbox.flush();
      },
    };
  }

  async #run(items: readonly BatchItem[]): Promise<void> {
    this.#running = true;
    this.#outbox.begin(items);
    let failure: unknown;
    try {
      await this.#engine?.run(items, this.#outbox);
    } catch (error) {
      failure = error;
    }
    this.#running = false;
    this.#outbox.finish(() =>
      toMarlineError(failure ?? new Error('The worker ended a batch without an answer to this request.')),
    );
    if (this.#stopping) await this.#close();
  }

  async #close(): Promise<void> {
    try {
      await this.#engine?.close();
    } catch (error) {
      this.#outbox.push({
        type: 'log',
        level: 'warn',
        text: `The model was not released: ${messageOf(error)}`,
      });
    }
    this.#outbox.flush();
    this.#post({ type: 'closed' });
    this.#port.close();
  }

  #post(message: FromWorker<Info>): void {
    this.#port.postMessage(message);
  }
}

/** Halves the event loop's p99 of the main thread under load. Elsewhere than on Linux niceness is the process's, not the thread's. */
function lowerPriority(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, 10);
  } catch {
    // A sandbox may forbid the call; the worker serves as well at its old priority.
  }
}
