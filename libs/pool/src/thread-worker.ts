import { RemoteWorker, type RemoteWorkerOptions } from './remote-worker.js';
import type { SpareThread } from './spare-thread.js';
import { Thread, type ThreadOptions } from './thread.js';

/** How a {@link ThreadWorker} is made. */
export interface ThreadWorkerOptions extends RemoteWorkerOptions, ThreadOptions {
  /** Taken instead of a new thread, if it is still there; it was made with the same options. */
  readonly spare?: SpareThread;
}

/**
 * A worker thread behind the pool's interface (docs/decisions/0001). It is ended from outside only when the shared flag tells
 * that no native code runs in it; there is no `kill`.
 *
 * A thread that ends by itself fails its items with `WORKER_DIED`, or `OUT_OF_RESOURCES` when its heap was full; the
 * cause is kept. Output to stdout and stderr goes where the process's goes unless `takesOutput` says otherwise.
 */
export class ThreadWorker<Model, Info> extends RemoteWorker<Model, Info> {
  constructor(options: ThreadWorkerOptions) {
    super(
      options,
      (events) =>
        options.spare?.take(events) ?? new Thread({ name: `worker-${options.id}`, ...options }, events),
    );
  }
}
