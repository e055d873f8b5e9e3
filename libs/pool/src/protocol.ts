import type { ErrorCode } from '#libs/common';
import type { MessagePort } from 'node:worker_threads';

/** What the pool tells a worker: the kind of a packet, and the values in it. */
export const TO_WORKER = {
  /** The model. */
  start: 0,
  /** Number of items, items. */
  run: 1,
  /** The reader of an item took a chunk and has room for one more: number of the item in its group. */
  credit: 2,
  /** The caller of an item is gone: number of the item. */
  cancel: 3,
  /** Finish the batch, release the model, end. */
  stop: 4,
} as const;

/** What a worker tells the pool. */
export const FROM_WORKER = {
  /** What the worker tells about its model. */
  ready: 10,
  /** The model did not load; the worker ends itself: 1 when permanent, error. */
  failed: 11,
  /** What happened in one tick, in order: {@link EVENT}s. */
  events: 12,
  /** The model is released; the worker ends. */
  closed: 13,
} as const;

/** One thing that happened in a worker, with its values behind it. */
export const EVENT = {
  /** Number of the item, result. */
  chunk: 20,
  /** Number of the item, result. */
  result: 21,
  /** Number of the item, error. */
  error: 22,
  /** Items, milliseconds, those before the model, those after it; {@link UNKNOWN_MS} for both where nobody knows. */
  ran: 23,
  metric: 24,
  /** Index in {@link LOG_LEVELS}, text. */
  log: 25,
  /** Every item is settled, the worker is free: number of input buffers that come back, each as its bytes. */
  done: 26,
} as const;

export const UNKNOWN_MS = -1;

export const LOG_LEVELS = ['log', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

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
  'DEVICE_UNAVAILABLE',
  'RUNTIME_UNSUPPORTED',
  'OPTIONS_INVALID',
]);

/** True for an error at start that another try with the same model cannot mend. */
export function isPermanent(code: ErrorCode): boolean {
  return PERMANENT.has(code);
}
