import {
  encodeError,
  messageOf,
  toMarlineError,
  type BatchItem,
  type BatchSink,
  type HandlerMetric,
} from '#libs/common';
import type { Channel } from './channel.js';
import { readItem } from './item-codec.js';
import { Outbox } from './outbox.js';
import { PacketWriter, type PacketReader } from './packet.js';
import { FROM_WORKER, TO_WORKER, isPermanent, type LogLevel } from './protocol.js';
import { writeError } from './result-codec.js';

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

/** What the worker offers to the code that it loads. */
export interface WorkerHost {
  /**
   * Runs a call into native code (creating, running or releasing a session): a thread is not terminated before it returns and
   * its promise, if it is one, settles. Keep JavaScript of others out of it. Never returns when the thread is being terminated.
   */
  native<T>(call: () => T): T;
  /**
   * Gives the buffer of an input back, so that it carries another request. Call it when nothing of the engine looks at the
   * buffer any more; it leaves the worker when the batch is over. What was moved on already is ignored.
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

/** Makes an engine answer a channel: the worker's side of the protocol, be the worker a thread or a process. */
export class WorkerServer<Model, Info> {
  readonly #load: LoadModel<Model, Info>;
  readonly #native: WorkerHost['native'];
  readonly #channel: Channel;
  readonly #outbox: Outbox;
  #engine: WorkerEngine<Info> | undefined;
  #running = false;
  #stopping = false;

  /**
   * @param connect opens the channel; what arrives on it goes to `receive`
   * @param native runs calls into native code
   */
  constructor(
    load: LoadModel<Model, Info>,
    connect: (receive: (packet: PacketReader) => void) => Channel,
    native: WorkerHost['native'],
  ) {
    this.#load = load;
    this.#native = native;
    this.#channel = connect((packet) => this.#receive(packet));
    this.#outbox = new Outbox(this.#channel);
  }

  listen(): void {
    // Answers of the tick in which a handler calls process.exit() or throws are not lost with it.
    process.once('exit', () => this.#outbox.flush());
  }

  #receive(packet: PacketReader): void {
    switch (packet.kind) {
      case TO_WORKER.start:
        void this.#start(packet.value() as Model);
        break;
      case TO_WORKER.run:
        void this.#run(readItems(packet));
        break;
      case TO_WORKER.credit:
        this.#outbox.credit(packet.number());
        break;
      case TO_WORKER.cancel: {
        const id = this.#outbox.cancel(packet.number());
        if (id !== undefined) this.#engine?.cancel?.(id);
        break;
      }
      case TO_WORKER.stop:
        this.#stopping = true;
        if (!this.#running) void this.#close();
        break;
    }
  }

  async #start(model: Model): Promise<void> {
    try {
      this.#engine = await this.#load(model, this.#host());
      const packet = new PacketWriter(FROM_WORKER.ready);
      packet.values.push(this.#engine.info);
      this.#channel.post(packet);
    } catch (error) {
      this.#outbox.flush();
      const packet = new PacketWriter(FROM_WORKER.failed);
      packet.values.push(isPermanent(encodeError(error).code) ? 1 : 0);
      writeError(packet, toMarlineError(error));
      this.#channel.post(packet);
      this.#channel.close();
    }
  }

  #host(): WorkerHost {
    return {
      native: this.#native,
      recycle: (buffer) => this.#outbox.recycle(buffer),
      metric: (metric) => this.#outbox.metric(metric),
      log: (level, text) => {
        this.#outbox.log(level, text);
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
      this.#outbox.log('warn', `The model was not released: ${messageOf(error)}`);
    }
    this.#outbox.flush();
    this.#channel.post(new PacketWriter(FROM_WORKER.closed));
    this.#channel.close();
  }
}

function readItems(packet: PacketReader): BatchItem[] {
  const count = packet.count(packet.left);
  const items: BatchItem[] = [];
  while (items.length < count) items.push(readItem(packet, count > 1));
  return items;
}
