import type { TensorMetadata } from '#libs/common';
import type { HandlerSetup, WorkerHandlerRef } from '#libs/handler';

/** How a worker opens the model's session. */
export interface SessionPlan {
  /** Absolute path: a session is never made from bytes, which could read the application's files. */
  readonly path: string;
  readonly executionProvider: 'cpu' | 'cuda';
  /** Index of the GPU; `null` on the CPU. */
  readonly deviceId: number | null;
  /** True for the optimised form whose weights all workers map: it must not be optimised again. */
  readonly shared: boolean;
  readonly intraOpThreads: number;
}

/** What a worker thread of this library loads. */
export interface WorkerModel {
  readonly setup: Omit<HandlerSetup, 'metric'>;
  readonly handler: WorkerHandlerRef;
  /** `null` for an archive without an ONNX file: its JavaScript handler does all. */
  readonly session: SessionPlan | null;
  /** Takes its first request without a run to warm up: others serve already, and the request itself warms it as well. */
  readonly skipsWarmUp?: boolean;
  /** The GPUs of a Python worker that takes several, by their numbers; it sees no others and counts them from 0. */
  readonly gpus?: readonly number[];
}

/** What it tells when it is ready; empty without a session. */
export interface WorkerReady {
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** True: runs had better have as many rows as those before; see `SteadyRows`. */
  readonly steady?: boolean;
}
