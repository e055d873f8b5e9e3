import { setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';
import { PortChannel } from './channel.js';
import { NativeGate } from './native-gate.js';
import type { ThreadData } from './protocol.js';
import { isChild, openParentChannel } from './parent-channel.js';
import { WorkerServer, type LoadModel } from './worker-server.js';

/**
 * Makes the running file the entry of a worker, be it a thread or a process. Call it once, at the top level of the file that
 * a `ThreadWorker` or a `ProcessWorker` starts.
 *
 * @throws Error where none of them started it
 */
export function serveWorker<Model, Info>(load: LoadModel<Model, Info>): void {
  const { port, gate: memory } = (workerData ?? {}) as Partial<ThreadData>;
  if (port !== undefined && memory !== undefined) {
    lowerPriority();
    const gate = new NativeGate(memory);
    new WorkerServer<Model, Info>(
      load,
      (receive) => new PortChannel(port, receive),
      (call) => gate.hold(call),
    ).listen();
    gate.leave();
  } else if (isChild()) {
    lowerPriority();
    new WorkerServer<Model, Info>(load, openParentChannel, (call) => call()).listen();
  } else {
    throw new Error(
      'serveWorker() runs in a thread or process that a ThreadWorker or ProcessWorker started: pass the URL of this file as its `entry`.',
    );
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
