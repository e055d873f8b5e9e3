import { MessageChannel, Worker, receiveMessageOnPort, type ResourceLimits } from 'node:worker_threads';
import { MarlineError } from '#libs/common';
import { PortChannel } from './channel.js';
import { NativeGate } from './native-gate.js';
import { PacketReader } from './packet.js';
import type { ThreadData } from './protocol.js';
import { visibleEnv, type Vessel, type VesselEvents } from './vessel.js';

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

/** One running thread: its port, its end, and the gate that must be won before it is terminated. */
export class Thread implements Vessel {
  readonly pid = process.pid;
  readonly channel: PortChannel;
  readonly #gate = new NativeGate();
  readonly #worker: Worker;
  /** What an uncaught exception or a full heap said before the thread ended. */
  #cause: unknown;

  /** @throws Error when no thread can be made */
  constructor(options: ThreadOptions, events: VesselEvents) {
    const { entry, env = visibleEnv(), resourceLimits, name } = options;
    const { port1, port2 } = new MessageChannel();
    const workerData: ThreadData = { port: port2, gate: this.#gate.memory };
    const { printed } = events;
    const takesOutput = printed !== undefined;
    this.#worker = new Worker(entry, {
      workerData,
      stdout: takesOutput,
      stderr: takesOutput,
      transferList: [port2],
      env,
      ...(name !== undefined && { name }),
      ...(resourceLimits && { resourceLimits }),
    });
    if (takesOutput) {
      this.#worker.stdout.on('data', (chunk: Buffer) => printed('stdout', chunk));
      this.#worker.stderr.on('data', (chunk: Buffer) => printed('stderr', chunk));
    }
    this.channel = new PortChannel(port1, (packet) => events.received(packet));
    this.#worker.on('error', (error) => {
      this.#cause = error;
    });
    this.#worker.on('exit', (code) => {
      // Node delivers what a worker's own channel held before the exit event, but not what another port holds.
      for (;;) {
        const last: { message: unknown[] } | undefined = receiveMessageOnPort(port1);
        if (last === undefined) break;
        events.received(new PacketReader(last.message));
      }
      port1.close();
      // What it printed last may not have been told yet.
      if (takesOutput) for (const stream of [this.#worker.stdout, this.#worker.stderr]) stream.read();
      events.exited(this.#death(code));
    });
  }

  /** Ends the thread unless native code runs in it; then it stops after that call, and this is to be called again. */
  tryEnd(): boolean {
    const won = this.#gate.tryEnd();
    if (won) void this.#worker.terminate();
    return won;
  }

  #death(code: number): MarlineError {
    const cause = this.#cause ?? new Error(`The worker thread ended with exit code ${code}.`);
    const outOfMemory = (cause as { code?: unknown }).code === 'ERR_WORKER_OUT_OF_MEMORY';
    return new MarlineError(outOfMemory ? 'OUT_OF_RESOURCES' : 'WORKER_DIED', {}, { cause });
  }
}
