import {
  MessageChannel,
  Worker,
  receiveMessageOnPort,
  type MessagePort,
  type ResourceLimits,
} from 'node:worker_threads';
import {
  MarlineError,
  decodeError,
  systemClock,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
} from '#libs/common';
import { NativeGate } from './native-gate.js';
import type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from './pool-worker.js';
import type { FromWorker, RunEvent, ThreadData, ToWorker } from './protocol.js';
import { RunningBatch } from './running-batch.js';
import { post } from './transfer.js';

/** How often a thread that is in native code is looked at again. */
const GATE_POLL_MS = 10;
/** How long the release of a model may take before the thread is ended from outside. */
const RELEASE_LIMIT_MS = 10_000;
/** How long a thread may live after its model is released: timers and sockets of a handler would keep it for ever. */
const LINGER_LIMIT_MS = 250;

/** What of the process's environment a thread sees: code of archives runs there, and secrets are none of its business. */
const VISIBLE_ENV = ['TZ', 'LANG', 'LC_ALL', 'NODE_ENV', 'TMPDIR'] as const;

/** How a {@link ThreadWorker} is made. */
export interface ThreadWorkerOptions {
  readonly id: number;
  /** The file of the thread; it calls `serveWorker`. */
  readonly entry: URL;
  readonly events: WorkerEvents;
  /** Milliseconds that loading may take; 0 is no limit. */
  readonly startTimeoutMs: number;
  /**
   * The thread's `process.env`. By default TZ, LANG, LC_ALL, NODE_ENV and TMPDIR of this process and nothing else. It keeps
   * secrets out of sight of careless code; it is no sandbox.
   */
  readonly env?: Record<string, string>;
  /** Bounds of the thread's V8 heap; native memory is not bounded. V8's defaults unless given. */
  readonly resourceLimits?: ResourceLimits;
  readonly clock?: Clock;
  /** Shown by debuggers and profilers. */
  readonly name?: string;
}

/**
 * A worker thread behind the pool's interface (design D1, D2). It is ended from outside only when the shared flag tells
 * that no native code runs in it; there is no `kill`.
 *
 * A thread that ends by itself fails its items with `WORKER_DIED`, or `OUT_OF_RESOURCES` when its heap was full; the
 * cause is kept. Output to stdout and stderr goes where the process's goes.
 */
export class ThreadWorker<Model, Info> implements PoolWorker<Model, Info> {
  readonly id: number;
  readonly startedAt = Date.now();
  readonly pid = process.pid;
  readonly #options: ThreadWorkerOptions;
  readonly #clock: Clock;
  readonly #gate = new NativeGate();
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #state: WorkerState = 'created';
  #thread: Worker | undefined;
  #port: MessagePort | undefined;
  #batch: RunningBatch | undefined;
  #settleStart: (outcome: StartOutcome<Info>) => void = () => {};
  #finishRun: () => void = () => {};
  /** The one timer that runs: the start's limit, the release's limit or the next look at the gate. */
  #cancelTimer: () => void = () => {};
  /** What an uncaught exception or a full heap said before the thread ended. */
  #cause: unknown;

  constructor(options: ThreadWorkerOptions) {
    this.id = options.id;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get state(): WorkerState {
    return this.#state;
  }

  start(model: Model): Promise<StartOutcome<Info>> {
    if (this.#state !== 'created') {
      const reason = `Worker ${this.id} was started already: make a new worker for every start.`;
      return Promise.resolve({ kind: 'permanent', error: new MarlineError('INTERNAL', { reason }) });
    }
    return new Promise((resolve) => {
      this.#settleStart = resolve;
      this.#state = 'starting';
      const { startTimeoutMs } = this.#options;
      if (startTimeoutMs > 0) {
        this.#after(
          startTimeoutMs,
          () => void this.quarantine(new MarlineError('WORKER_START_TIMEOUT', { timeoutMs: startTimeoutMs })),
        );
      }
      try {
        this.#spawn();
        this.#send({ type: 'start', model });
      } catch (error) {
        resolve({ kind: 'permanent', error: toMarlineError(error) });
        this.#endFromOutside('stopping');
      }
    });
  }

  #spawn(): void {
    const { port1, port2 } = new MessageChannel();
    const { entry, env = visibleEnv(), resourceLimits, name = `worker-${this.id}` } = this.#options;
    const data: ThreadData = { port: port2, gate: this.#gate.memory };
    const thread = new Worker(entry, {
      workerData: data,
      transferList: [port2],
      env,
      name,
      ...(resourceLimits && { resourceLimits }),
    });
    this.#thread = thread;
    this.#port = port1;
    port1.on('message', (message: FromWorker<Info>) => this.#receive(message));
    thread.on('error', (error) => {
      this.#cause = error;
    });
    thread.on('exit', (code) => this.#exited(code));
  }

  #receive(message: FromWorker<Info>): void {
    switch (message.type) {
      case 'ready':
        if (this.#state !== 'starting') return;
        this.#state = 'idle';
        this.#cancelTimer();
        this.#settleStart({ kind: 'ready', info: message.info });
        break;
      case 'failed':
        if (this.#state !== 'starting') return;
        this.#state = 'stopping';
        this.#endAfter(LINGER_LIMIT_MS);
        this.#settleStart({
          kind: message.permanent ? 'permanent' : 'transient',
          error: decodeError(message.error),
        });
        break;
      case 'events':
        for (const event of message.events) this.#receiveEvent(event);
        break;
      case 'closed':
        if (this.#state === 'stopping') this.#endAfter(LINGER_LIMIT_MS);
        break;
    }
  }

  #receiveEvent(event: RunEvent): void {
    switch (event.type) {
      case 'metric':
        this.#options.events.metric(event.metric);
        break;
      case 'log':
        this.#options.events.log(event.level, event.text);
        break;
      case 'done':
        this.#runDone();
        break;
      case 'chunk':
      case 'result':
      case 'error':
        this.#batch?.deliver(event);
        break;
    }
  }

  run(items: readonly BatchItem[], sink: BatchSink): Promise<void> {
    const batch = new RunningBatch(items, sink, (message) => this.#send(message));
    if (this.#state !== 'idle') {
      batch.failRest(
        new MarlineError('INTERNAL', {
          reason: `Worker ${this.id} was given a batch while it was ${this.#state}.`,
        }),
      );
      return Promise.resolve();
    }
    this.#state = 'busy';
    this.#batch = batch;
    const finished = new Promise<void>((resolve) => {
      this.#finishRun = resolve;
    });
    const transfer = new Set<ArrayBuffer>();
    const packed = batch.pack(items, transfer);
    if (packed.length === 0 || this.#port === undefined) {
      this.#runDone();
      return finished;
    }
    try {
      post(this.#port, { type: 'run', items: packed } satisfies ToWorker<Model>, transfer);
    } catch (error) {
      batch.failRest(toMarlineError(error, 'INVALID_INPUT'));
      this.#runDone();
    }
    return finished;
  }

  #runDone(): void {
    this.#batch = undefined;
    switch (this.#state) {
      case 'busy':
        this.#state = 'idle';
        this.#finishRun();
        break;
      case 'stopping':
        this.#finishRun();
        this.#endAfter(RELEASE_LIMIT_MS);
        break;
      default:
        // Quarantined: the run counts as over when the thread has ended.
        break;
    }
  }

  cancel(itemId: string): void {
    this.#batch?.cancel(itemId);
  }

  quarantine(error: MarlineError): Promise<void> {
    switch (this.#state) {
      case 'quarantined':
      case 'stopped':
        break;
      default:
        this.#endFromOutside('quarantined');
        this.#settleStart({ kind: 'transient', error });
        this.#batch?.failRest(error);
    }
    return this.#ended;
  }

  stop(): Promise<void> {
    switch (this.#state) {
      case 'created':
      case 'starting':
        // Nothing is being served: the thread need not finish its load.
        this.#endFromOutside('stopping');
        this.#settleStart({ kind: 'transient', error: new MarlineError('SHUTTING_DOWN') });
        break;
      case 'idle':
        this.#state = 'stopping';
        this.#send({ type: 'stop' });
        this.#endAfter(RELEASE_LIMIT_MS);
        break;
      case 'busy':
        this.#state = 'stopping';
        this.#send({ type: 'stop' });
        break;
      case 'quarantined':
      case 'stopping':
      case 'stopped':
        break;
    }
    return this.#ended;
  }

  #endAfter(limitMs: number): void {
    this.#after(limitMs, () => this.#terminate());
  }

  #endFromOutside(state: 'quarantined' | 'stopping'): void {
    this.#state = state;
    if (this.#thread === undefined) this.#exited(0);
    else this.#terminate();
  }

  #terminate(): void {
    this.#cancelTimer();
    if (this.#gate.tryEnd()) void this.#thread?.terminate();
    else this.#after(GATE_POLL_MS, () => this.#terminate());
  }

  #exited(exitCode: number): void {
    // Node delivers what a thread's own channel held before the exit event, but not what another port holds.
    while (this.#port !== undefined) {
      const last: { message: FromWorker<Info> } | undefined = receiveMessageOnPort(this.#port);
      if (last === undefined) break;
      this.#receive(last.message);
    }
    const before = this.#state;
    this.#state = 'stopped';
    this.#cancelTimer();
    this.#port?.close();
    const error = this.#deathBy(exitCode);
    this.#settleStart({ kind: 'transient', error });
    this.#batch?.failRest(error);
    this.#batch = undefined;
    this.#finishRun();
    this.#resolveEnded();
    if (before === 'idle' || before === 'busy') this.#options.events.exited(error);
  }

  #deathBy(exitCode: number): MarlineError {
    const cause = this.#cause ?? new Error(`The worker thread ended with exit code ${exitCode}.`);
    const full = (cause as { code?: unknown }).code === 'ERR_WORKER_OUT_OF_MEMORY';
    return new MarlineError(full ? 'OUT_OF_RESOURCES' : 'WORKER_DIED', {}, { cause });
  }

  #after(delayMs: number, callback: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(delayMs, callback);
  }

  #send(message: ToWorker<Model>): void {
    this.#port?.postMessage(message);
  }
}

function visibleEnv(): Record<string, string> {
  return Object.fromEntries(
    VISIBLE_ENV.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}
