import type { BatchItem, EncodedError, ErrorCode, HandlerMetric, ItemResult } from '#libs/common';
import type { MessagePort } from 'node:worker_threads';

/** What the main thread tells a worker. */
export type ToWorker<Model> =
  | { readonly type: 'start'; readonly model: Model }
  | { readonly type: 'run'; readonly items: readonly BatchItem[] }
  /** The reader of an item took a chunk and has room for one more. */
  | { readonly type: 'credit'; readonly id: string }
  | { readonly type: 'cancel'; readonly id: string }
  /** Finish the batch, release the model, end. */
  | { readonly type: 'stop' };

/** What a worker tells the main thread. */
export type FromWorker<Info> =
  | { readonly type: 'ready'; readonly info: Info }
  /** The model did not load; the worker ends itself. */
  | { readonly type: 'failed'; readonly permanent: boolean; readonly error: EncodedError }
  /** What happened in one tick, in order. */
  | { readonly type: 'events'; readonly events: readonly RunEvent[] }
  /** The model is released; the worker ends. */
  | { readonly type: 'closed' };

/** One thing that happened in a worker. */
export type RunEvent =
  | ItemEvent
  | { readonly type: 'ran'; readonly items: number; readonly durationMs: number }
  | { readonly type: 'metric'; readonly metric: HandlerMetric }
  | { readonly type: 'log'; readonly level: LogLevel; readonly text: string }
  /** Every item of the batch is settled: the worker is free. Input buffers that it needs no more come back with it. */
  | { readonly type: 'done'; readonly spent: readonly ArrayBuffer[] };

/** Something of one item: chunks, then one result or error. */
export type ItemEvent =
  | { readonly type: 'chunk'; readonly id: string; readonly chunk: ItemResult }
  | { readonly type: 'result'; readonly id: string; readonly result: ItemResult }
  | { readonly type: 'error'; readonly id: string; readonly error: EncodedError };

export type LogLevel = 'log' | 'warn' | 'error';

/** What a thread finds in its `workerData`. */
export interface ThreadData {
  /** Not `parentPort`: what an archive's code posts there by accident would be taken for an answer. */
  readonly port: MessagePort;
  readonly gate: SharedArrayBuffer;
}

const PERMANENT: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ARCHIVE_NOT_FOUND',
  'ARCHIVE_URL_REFUSED',
  'ARCHIVE_INVALID',
  'ARCHIVE_UNSAFE',
  'HANDLER_NOT_FOUND',
  'HANDLER_INVALID',
  'MODEL_INVALID',
  'RUNTIME_UNSUPPORTED',
  'OPTIONS_INVALID',
]);

/** True for an error at start that another try with the same model cannot mend. */
export function isPermanent(code: ErrorCode): boolean {
  return PERMANENT.has(code);
}
