import type { BatchItem, BatchSink, HandlerMetric, MarlineError } from '#libs/common';

/**
 * What one worker is doing.
 *
 * ```
 * created ─► starting ─► idle ◄─► busy ─► quarantined ─► stopped
 *                │         │        │                       ▲
 *                └─────────┴────────┴──► stopping ──────────┘
 * ```
 */
export type WorkerState = 'created' | 'starting' | 'idle' | 'busy' | 'quarantined' | 'stopping' | 'stopped';

/** How a start ended. A permanent failure (bad model, bad handler) is never retried. */
export type StartOutcome<Info> =
  | { readonly kind: 'ready'; readonly info: Info }
  | { readonly kind: 'permanent'; readonly error: MarlineError }
  | { readonly kind: 'transient'; readonly error: MarlineError };

/** What a worker tells its pool on its own account. */
export interface WorkerEvents {
  /** The worker ended without being asked to; the items of its batch were failed already. */
  exited(error: MarlineError): void;
  metric(metric: HandlerMetric): void;
  log(level: 'log' | 'warn' | 'error', text: string): void;
}

/**
 * One worker, be it a thread, a process or TorchServe's Python worker. The pool knows nothing else.
 * @typeParam Model what `start` hands to the worker to load: opaque here, structured-cloneable
 * @typeParam Info what a worker tells when it is ready, such as the model's inputs and outputs
 */
export interface PoolWorker<Model = unknown, Info = unknown> {
  readonly id: number;
  readonly state: WorkerState;
  /** Milliseconds since the epoch at which this worker was created. */
  readonly startedAt: number;
  /** Operating-system process id; that of this process for a thread. */
  readonly pid: number;
  /** Runs that it takes at once; 1 when absent. With more it watches over their time itself. */
  readonly capacity?: number;

  /** Loads the model and warms it up. Never rejects. */
  start(model: Model): Promise<StartOutcome<Info>>;

  /**
   * Runs a batch; only in state `idle`, which a worker with a capacity above 1 is in while it has room for one more. Every item gets exactly one result or error through the sink, also when the
   * worker dies. Takes ownership of the bytes and tensors. Never rejects; resolves when the worker is free again or has ended.
   */
  run(batch: readonly BatchItem[], sink: BatchSink): Promise<void>;

  /** The caller of an item is gone: its answer is no longer wanted. The run itself may go on. */
  cancel(itemId: string): void;

  /** Fails what is running with `error` at once and takes no more work; the worker ends when its run returns, or is ended. */
  quarantine(error: MarlineError): Promise<void>;

  /** Finishes the running batch, releases the model and ends. Resolves when the worker is gone. May be called twice. */
  stop(): Promise<void>;

  /** Ends it now, whatever it does. Absent where that could take the process down (threads). */
  kill?(): void;
}
