/**
 * pool: workers behind one interface, and the pool that starts, restarts, quarantines and drains them.
 * Knows neither Nest nor ONNX: what a worker loads is opaque to it.
 * The entry file of a thread or process calls `serveWorker` with a function that loads the model and returns an engine.
 */
export { recycle, recycleTaken, takeBuffer } from './buffer-pool.js';
export { freeBuffer } from './free-buffer.js';
export { LineQuota, type OutputStream } from './line-quota.js';
export { OutputLines } from './output-lines.js';
export type { PoolWorker, StartOutcome, WorkerEvents, WorkerState } from './pool-worker.js';
export { SpareThread } from './spare-thread.js';
export { ThreadWorker, type ThreadWorkerOptions } from './thread-worker.js';
export { ProcessWorker, type ProcessWorkerOptions } from './process-worker.js';
export { InlineWorker, type InlineWorkerOptions } from './inline-worker.js';
export {
  WorkerPool,
  type PoolEvent,
  type PooledState,
  type PooledWorker,
  type WorkerPoolOptions,
} from './worker-pool.js';
export { serveWorker } from './serve-worker.js';
export { envOf } from './vessel.js';
export type { LoadModel, WorkerEngine, WorkerHost } from './worker-server.js';
