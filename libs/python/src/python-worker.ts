import type { Socket } from 'node:net';
import {
  MarlineError,
  systemClock,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
} from '#libs/common';
import type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from '#libs/pool';
import { PartBuffer } from './part-buffer.js';
import { encodeLoad, type LoadRequest } from './protocol.js';
import { PythonBatch, unexpected, type ReplyFlow } from './python-batch.js';
import { PythonProcess, type PythonProcessOptions } from './python-process.js';
import { ReplyReader, type Reply } from './reply-reader.js';
import { RunsUnderWay, type AsyncRuns } from './runs-under-way.js';
import { WorkerLog } from './worker-log.js';

/** How a {@link PythonWorker} is made. */
export interface PythonWorkerOptions<Model, Info> extends Omit<PythonProcessOptions, 'async'> {
  readonly events: WorkerEvents;
  /** Milliseconds that loading the model may take, once the process runs; 0 is no limit. */
  readonly startTimeoutMs: number;
  /** Bytes of one answer. */
  readonly maxResponseSize: number;
  /** What the worker is told of a model. */
  readonly loadRequest: (model: Model) => LoadRequest;
  /** What `CUDA_VISIBLE_DEVICES` is for the worker; when absent, or without an answer, as for this process. */
  readonly visibleDevices?: (model: Model) => string | undefined;
  /** What is told of the model when it is ready: the worker itself says nothing. */
  readonly info: Info;
  /** Present for an archive whose handler is a coroutine: the worker takes batches while others are under way. */
  readonly async?: AsyncRuns;
  /** True: a reply ends its batch, also where it announces that more of an answer is to come. */
  readonly continuous?: boolean;
  readonly clock?: Clock;
}

/** How long the process may take until it listens: it imports PyTorch first. TorchServe's own limit. */
const PROCESS_START_LIMIT_MS = 120_000;
/** How long a worker may live after its connection was closed. */
const LINGER_LIMIT_MS = 2000;
const OK = 200;
const OUT_OF_MEMORY = 507;
/** Of what takes all that comes. */
const FREE_FLOW: ReplyFlow = { pause: () => {}, resume: () => {} };

/**
 * TorchServe's unmodified Python worker behind the pool's interface: a process that loads an archive and answers batches
 * over a socket. It can be ended at any moment. It cannot be told that a caller is gone: what it still says is dropped.
 */
export class PythonWorker<Model, Info> implements PoolWorker<Model, Info> {
  readonly id: number;
  readonly startedAt = Date.now();
  readonly #options: PythonWorkerOptions<Model, Info>;
  readonly #clock: Clock;
  readonly #process: PythonProcess;
  readonly #reader: ReplyReader;
  readonly #log: WorkerLog;
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #state: WorkerState = 'created';
  #load: LoadRequest | undefined;
  /** One for each rank. */
  #sockets: readonly Socket[] = [];
  #ranksToLoad = 0;
  /** Why this side gave the worker up. */
  #failure: MarlineError | undefined;
  readonly #runs: RunsUnderWay;
  #settleStart: (outcome: StartOutcome<Info>) => void = () => {};
  /** The one timer that runs: the limit of the start, or of the end. */
  #cancelTimer: () => void = () => {};

  constructor(options: PythonWorkerOptions<Model, Info>) {
    this.id = options.id;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = new WorkerLog(options.events, this.#clock);
    this.#process = new PythonProcess(
      { ...options, async: options.async !== undefined },
      {
        connected: (sockets) => this.#connected(sockets),
        line: (stream, text) => this.#log.line(stream, text),
        exited: (error) => this.#exited(error),
      },
    );
    this.#runs = new RunsUnderWay(options.async, this.#clock, () => this.#silent());
    this.#reader = new ReplyReader(
      { maxBodyBytes: options.maxResponseSize, maxPredictions: () => this.#runs.mostPredictions },
      (reply) => this.#received(reply),
    );
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  /** Operating-system process id; this process's until a process of its own is there. */
  get pid(): number {
    return this.#process.pid ?? process.pid;
  }

  get state(): WorkerState {
    return this.#state;
  }

  get capacity(): number {
    return this.#options.async?.capacity ?? 1;
  }

  start(model: Model): Promise<StartOutcome<Info>> {
    if (this.#state !== 'created') {
      const reason = `Worker ${this.id} was started already: make a new worker for every start.`;
      return Promise.resolve({ kind: 'permanent', error: new MarlineError('INTERNAL', { reason }) });
    }
    this.#state = 'starting';
    this.#load = this.#options.loadRequest(model);
    const { startTimeoutMs } = this.#options;
    this.#limitStart(Math.max(startTimeoutMs, PROCESS_START_LIMIT_MS));
    return new Promise((resolve) => {
      this.#settleStart = resolve;
      this.#process
        .start(this.#options.visibleDevices?.(model))
        .catch((error: unknown) => this.#notStarted(toMarlineError(error)));
    });
  }

  /** Another try with the same Python and the same options cannot help. */
  #notStarted(error: MarlineError): void {
    const permanent = error.code === 'RUNTIME_UNSUPPORTED' || error.code === 'OPTIONS_INVALID';
    if (this.#state === 'starting') this.#settleStart({ kind: permanent ? 'permanent' : 'transient', error });
    this.#state = 'stopping';
    this.#exited(error);
  }

  #limitStart(timeoutMs: number): void {
    this.#after(
      timeoutMs,
      () => void this.quarantine(new MarlineError('WORKER_START_TIMEOUT', { timeoutMs })),
    );
  }

  #connected(sockets: readonly Socket[]): void {
    if (this.#state !== 'starting' || this.#load === undefined) return;
    this.#sockets = sockets;
    this.#ranksToLoad = sockets.length;
    this.#cancelTimer();
    if (this.#options.startTimeoutMs > 0) this.#limitStart(this.#options.startTimeoutMs);
    const frame = encodeLoad(this.#load);
    for (const [rank, socket] of sockets.entries()) {
      const reader = rank === 0 ? this.#reader : this.#otherReader(rank);
      socket.on('data', (chunk: Buffer) => this.#guard(() => reader.push(chunk)));
      socket.write(frame);
    }
  }

  /** The other ranks say whether they have loaded, and nothing more. */
  #otherReader(rank: number): ReplyReader {
    return new ReplyReader({ maxBodyBytes: 0, maxPredictions: () => 0 }, (reply) => {
      if (this.#state !== 'starting') throw unexpected(`a reply from rank ${rank}`);
      this.#loaded(reply);
    });
  }

  /** Anything may arrive from a process in which code of archives runs: what cannot be read ends that worker alone. */
  #guard(read: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      read();
    } catch (error) {
      this.#failure = toMarlineError(error);
      this.#process.kill();
    }
  }

  #received(reply: Reply): void {
    switch (this.#state) {
      case 'starting':
        this.#loaded(reply);
        break;
      case 'idle':
      case 'busy':
      case 'stopping':
        if (this.#runs.reply(reply)) this.#runDone();
        break;
      case 'created':
      case 'quarantined':
      case 'stopped':
        break;
    }
  }

  #loaded({ code, message }: Reply): void {
    if (code === OK) {
      this.#ranksToLoad -= 1;
      if (this.#ranksToLoad > 0) return;
      this.#state = 'idle';
      this.#cancelTimer();
      this.#settleStart({ kind: 'ready', info: this.#options.info });
      return;
    }
    // It ends itself now; its last words say why.
    const reason = `The handler did not load: ${message}.`;
    this.#failure =
      code === OUT_OF_MEMORY
        ? new MarlineError('OUT_OF_RESOURCES')
        : new MarlineError('HANDLER_INVALID', { reason });
    this.#endAfter(LINGER_LIMIT_MS);
  }

  run(items: readonly BatchItem[], sink: BatchSink): Promise<void> {
    const batch = this.#batchOf(items, sink);
    if (this.#state !== 'idle') {
      const reason = `Worker ${this.id} was given a batch while it was ${this.#state}.`;
      batch.failRest(new MarlineError('INTERNAL', { reason }));
      return Promise.resolve();
    }
    const frame = batch.frameOf(items);
    if (frame === undefined) return Promise.resolve();
    const over = this.#runs.begin(batch);
    if (this.#runs.size >= this.capacity) this.#state = 'busy';
    const { group } = this.#options;
    for (const socket of group?.toAll === false ? this.#sockets.slice(0, 1) : this.#sockets)
      socket.write(frame);
    return over;
  }

  #batchOf(items: readonly BatchItem[], sink: BatchSink): PythonBatch {
    const now = this.#clock.now();
    if (this.#options.async === undefined)
      return new PythonBatch(items, sink, this.#flow(), now, this.#options.continuous);
    // What holds the replies of one batch back would hold back those of all the others.
    return new PythonBatch(items, new PartBuffer(sink, this.#options.maxResponseSize), FREE_FLOW, now);
  }

  #flow(): ReplyFlow {
    return {
      pause: () => {
        this.#reader.pause();
        this.#sockets[0]?.pause();
      },
      resume: () => {
        this.#sockets[0]?.resume();
        this.#guard(() => this.#reader.resume());
      },
    };
  }

  #runDone(): void {
    if (this.#state === 'busy') this.#state = 'idle';
    else if (this.#state === 'stopping' && this.#runs.size === 0) this.#close();
  }

  #silent(): void {
    const reason = 'The worker said nothing any more, neither to the oldest request nor to those after it.';
    this.#failure ??= new MarlineError('WORKER_DIED', {}, { cause: new Error(reason) });
    this.#process.kill();
  }

  cancel(itemId: string): void {
    this.#runs.cancel(itemId);
  }

  quarantine(error: MarlineError): Promise<void> {
    if (this.#state !== 'quarantined' && this.#state !== 'stopped') {
      this.#giveUp('quarantined', error);
      this.#runs.failRest(error);
    }
    return this.#ended;
  }

  stop(): Promise<void> {
    switch (this.#state) {
      case 'created':
      case 'starting':
        // Nothing is being served: the process need not finish its load.
        this.#giveUp('stopping', new MarlineError('SHUTTING_DOWN'));
        break;
      case 'idle':
      case 'busy':
        this.#state = 'stopping';
        if (this.#runs.size === 0) this.#close();
        break;
      case 'quarantined':
      case 'stopping':
      case 'stopped':
        break;
    }
    return this.#ended;
  }

  /** Ends the process now, whatever it does. */
  kill(): void {
    this.#process.kill();
  }

  #giveUp(state: 'quarantined' | 'stopping', error: MarlineError): void {
    const before = this.#state;
    this.#state = state;
    this.#failure ??= error;
    this.#cancelTimer();
    this.#settleStart({ kind: 'transient', error });
    this.#process.kill();
    if (before === 'created') this.#exited(error);
  }

  #close(): void {
    this.#process.close();
    this.#endAfter(LINGER_LIMIT_MS);
  }

  #endAfter(limitMs: number): void {
    this.#after(limitMs, () => this.#process.kill());
  }

  #exited(death: MarlineError): void {
    if (this.#state === 'stopped') return;
    const error = withCause(this.#failure, death);
    const before = this.#state;
    this.#state = 'stopped';
    this.#cancelTimer();
    this.#log.flush();
    this.#settleStart({ kind: 'transient', error });
    this.#runs.end(error);
    this.#resolveEnded();
    if (before === 'idle' || before === 'busy') this.#options.events.exited(error);
  }

  #after(delayMs: number, callback: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(delayMs, callback);
  }
}

/** Why this side gave the worker up, with the worker's last words where nothing better is known. */
function withCause(failure: MarlineError | undefined, death: MarlineError): MarlineError {
  if (failure === undefined || failure.cause !== undefined) return failure ?? death;
  return new MarlineError(failure.code, failure.details, { cause: death.cause });
}
