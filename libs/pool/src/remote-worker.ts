import {
  MarlineError,
  systemClock,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type Clock,
} from '#libs/common';
import { PacketWriter, type PacketReader } from './packet.js';
import type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from './pool-worker.js';
import { EVENT, FROM_WORKER, LOG_LEVELS, TO_WORKER, UNKNOWN_MS, isPermanent } from './protocol.js';
import { readError, readMetric, readResult } from './result-codec.js';
import { RunningBatch, takeBack } from './running-batch.js';
import type { Vessel, VesselEvents } from './vessel.js';
import { WorkerOutput } from './worker-output.js';

/** How often a worker that could not be ended is looked at again. */
const GATE_POLL_MS = 10;
/** How long the release of a model may take before the worker is ended from outside. */
const RELEASE_LIMIT_MS = 10_000;
/** How long a worker may live after its model is released: timers and sockets of a handler would keep it for ever. */
const LINGER_LIMIT_MS = 250;

/** How a worker in a thread or process is made. */
export interface RemoteWorkerOptions {
  readonly id: number;
  readonly events: WorkerEvents;
  /** Milliseconds that loading may take; 0 is no limit. */
  readonly startTimeoutMs: number;
  /** True to be told, as `log`, what its code prints. By default that goes where the output of this process goes. */
  readonly takesOutput?: boolean;
  readonly clock?: Clock;
}

/** A worker behind a channel: the states, time limits and batches that threads and processes have in common. */
export class RemoteWorker<Model, Info> implements PoolWorker<Model, Info> {
  readonly id: number;
  readonly startedAt = Date.now();
  readonly #options: RemoteWorkerOptions;
  readonly #launch: (events: VesselEvents) => Vessel;
  readonly #clock: Clock;
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #state: WorkerState = 'created';
  #vessel: Vessel | undefined;
  /** Why this side gave the worker up. */
  #failure: MarlineError | undefined;
  #batch: RunningBatch | undefined;
  #settleStart: (outcome: StartOutcome<Info>) => void = () => {};
  #finishRun: () => void = () => {};
  /** The one timer that runs: the start's limit, the release's limit or the next look at the gate. */
  #cancelTimer: () => void = () => {};

  /** @param launch starts the thread or process */
  constructor(options: RemoteWorkerOptions, launch: (events: VesselEvents) => Vessel) {
    this.id = options.id;
    this.#launch = launch;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  /** Operating-system process id; this process's until a process of its own is there. */
  get pid(): number {
    return this.#vessel?.pid ?? process.pid;
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
      this.#limitStart();
      let kind: 'transient' | 'permanent' = 'transient';
      try {
        this.#vessel = this.#launch(this.#vesselEvents());
        // A model that cannot be cloned will not be clonable next time.
        kind = 'permanent';
        const packet = new PacketWriter(TO_WORKER.start);
        packet.values.push(model);
        this.#vessel.channel.post(packet);
      } catch (error) {
        const told = toMarlineError(error);
        resolve({ kind: isPermanent(told.code) ? 'permanent' : kind, error: told });
        this.#endFromOutside('stopping');
      }
    });
  }

  #vesselEvents(): VesselEvents {
    const { takesOutput, events } = this.#options;
    const output = takesOutput === true ? new WorkerOutput(events, this.#clock) : undefined;
    return {
      received: (packet) => this.#receive(packet),
      exited: (error) => {
        output?.end();
        this.#exited(error);
      },
      ...(output && { printed: (stream, chunk) => output.push(stream, chunk) }),
    };
  }

  #limitStart(): void {
    const { startTimeoutMs: timeoutMs } = this.#options;
    if (timeoutMs === 0) return;
    this.#after(
      timeoutMs,
      () => void this.quarantine(new MarlineError('WORKER_START_TIMEOUT', { timeoutMs })),
    );
  }

  /** Anything may arrive from a process in which code of archives runs: what cannot be read ends that worker alone. */
  #receive(packet: PacketReader): void {
    try {
      this.#read(packet);
    } catch (error) {
      this.#failure ??= new MarlineError('WORKER_DIED', {}, { cause: error });
      this.#terminate();
    }
  }

  #read(packet: PacketReader): void {
    switch (packet.kind) {
      case FROM_WORKER.ready:
        if (this.#state !== 'starting') return;
        this.#state = 'idle';
        this.#cancelTimer();
        this.#settleStart({ kind: 'ready', info: packet.value() as Info });
        break;
      case FROM_WORKER.failed: {
        if (this.#state !== 'starting') return;
        const kind = packet.number() === 1 ? 'permanent' : 'transient';
        const error = readError(packet);
        this.#state = 'stopping';
        this.#endAfter(LINGER_LIMIT_MS);
        this.#settleStart({ kind, error });
        break;
      }
      case FROM_WORKER.events:
        while (!packet.done) this.#readEvent(packet);
        break;
      case FROM_WORKER.closed:
        if (this.#state === 'stopping') this.#endAfter(LINGER_LIMIT_MS);
        break;
      default:
        throw new TypeError('A worker sent a message of no known kind.');
    }
  }

  #readEvent(packet: PacketReader): void {
    const batch = this.#batch;
    const shared = batch?.shared === true;
    switch (packet.number()) {
      case EVENT.result: {
        const index = packet.number();
        const result = readResult(packet, shared);
        batch?.result(index, result);
        break;
      }
      case EVENT.error: {
        const index = packet.number();
        const error = readError(packet);
        batch?.error(index, error);
        break;
      }
      case EVENT.chunk: {
        const index = packet.number();
        const chunk = readResult(packet, shared);
        batch?.chunk(index, chunk);
        break;
      }
      case EVENT.ran: {
        const items = packet.number();
        const durationMs = packet.number();
        const preMs = packet.number();
        const postMs = packet.number();
        batch?.ran(items, durationMs, preMs === UNKNOWN_MS ? undefined : { preMs, postMs });
        break;
      }
      case EVENT.metric:
        this.#options.events.metric(readMetric(packet));
        break;
      case EVENT.log:
        this.#options.events.log(LOG_LEVELS[packet.number()] ?? 'log', packet.text());
        break;
      case EVENT.done:
        takeBack(packet);
        this.#runDone();
        break;
      default:
        throw new TypeError('A worker sent an event of no known kind.');
    }
  }

  run(items: readonly BatchItem[], sink: BatchSink): Promise<void> {
    const vessel = this.#vessel;
    if (this.#state !== 'idle' || vessel === undefined) {
      const reason = `Worker ${this.id} was given a batch while it was ${this.#state}.`;
      const error = new MarlineError('INTERNAL', { reason });
      for (const { id } of items) sink.error(id, error);
      return Promise.resolve();
    }
    this.#state = 'busy';
    const batch = new RunningBatch(items, sink, vessel.channel);
    this.#batch = batch;
    const finished = new Promise<void>((resolve) => {
      this.#finishRun = resolve;
    });
    try {
      if (!batch.send()) this.#runDone();
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
      case 'quarantined':
        // The run is over when the thread has ended.
        break;
      case 'created':
      case 'starting':
      case 'idle':
      case 'stopped':
        break;
    }
  }

  cancel(itemId: string): void {
    this.#batch?.cancel(itemId);
  }

  quarantine(error: MarlineError): Promise<void> {
    if (this.#state !== 'quarantined' && this.#state !== 'stopped') {
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
        this.#vessel?.channel.post(new PacketWriter(TO_WORKER.stop));
        this.#endAfter(RELEASE_LIMIT_MS);
        break;
      case 'busy':
        this.#state = 'stopping';
        this.#vessel?.channel.post(new PacketWriter(TO_WORKER.stop));
        break;
      case 'quarantined':
      case 'stopping':
      case 'stopped':
        break;
    }
    return this.#ended;
  }

  /** Ends the worker as soon as it is safe, whatever it does. */
  protected endNow(): void {
    if (this.#state !== 'stopped') this.#terminate();
  }

  #endAfter(limitMs: number): void {
    this.#after(limitMs, () => this.#terminate());
  }

  #endFromOutside(state: 'quarantined' | 'stopping'): void {
    this.#state = state;
    if (this.#vessel === undefined) this.#exited(new MarlineError('SHUTTING_DOWN'));
    else this.#terminate();
  }

  #terminate(): void {
    this.#cancelTimer();
    if (this.#vessel?.tryEnd() === false) this.#after(GATE_POLL_MS, () => this.#terminate());
  }

  #exited(death: MarlineError): void {
    const error = this.#failure ?? death;
    const before = this.#state;
    this.#state = 'stopped';
    this.#cancelTimer();
    this.#settleStart({ kind: 'transient', error });
    this.#batch?.failRest(error);
    this.#batch = undefined;
    this.#finishRun();
    this.#resolveEnded();
    if (before === 'idle' || before === 'busy') this.#options.events.exited(error);
  }

  #after(delayMs: number, callback: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(delayMs, callback);
  }
}
