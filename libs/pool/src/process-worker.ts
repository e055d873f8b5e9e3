import { Child, type ChildOptions } from './child.js';
import { RemoteWorker, type RemoteWorkerOptions } from './remote-worker.js';

/** How a {@link ProcessWorker} is made. */
export interface ProcessWorkerOptions extends RemoteWorkerOptions, ChildOptions {}

/**
 * A worker process behind the pool's interface, for models that may crash, hang or eat memory in native code: it can be
 * ended at any moment and costs nobody but its own requests. Packets go over a socket; large bodies are read straight into
 * the memory that the model gets.
 *
 * A process that ends by itself fails its items with `WORKER_DIED`, or `OUT_OF_RESOURCES` when it was out of memory; the
 * cause has its last words. Its output goes where this process's goes unless `takesOutput` says otherwise, its input is closed.
 */
export class ProcessWorker<Model, Info> extends RemoteWorker<Model, Info> {
  constructor(options: ProcessWorkerOptions) {
    super(options, (events) => new Child({ name: `worker-${options.id}`, ...options }, events));
  }

  /** Ends the process now, whatever it does. */
  kill(): void {
    this.endNow();
  }
}
