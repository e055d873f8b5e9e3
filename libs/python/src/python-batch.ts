import {
  MarlineError,
  type BatchItem,
  type BatchSink,
  type ErrorCode,
  type Header,
  type ItemResult,
} from '#libs/common';
import { encodeInfer, type InferRequest } from './protocol.js';
import type { Prediction, Reply } from './reply-reader.js';

/** Holds the worker's replies back, and lets them come again. */
export interface ReplyFlow {
  pause(): void;
  resume(): void;
}

const OK = 200;
const STREAM_HEADER = 'ts_stream_next';
const CONTENT_TOO_LARGE = 413;
const INSUFFICIENT_STORAGE = 507;
/** Our names for what TorchServe's worker says when a handler fails. */
const KNOWN: readonly ErrorCode[] = [
  'PREDICTION_FAILED',
  'OUT_OF_RESOURCES',
  'INVALID_OUTPUT',
  'BATCH_LENGTH_MISMATCH',
  'OUTPUT_NOT_SERIALIZABLE',
];

/**
 * One batch in a Python worker: its frame, and what becomes of each item. A worker sends the next part of a stream whether
 * or not it is wanted; it is read when all readers of the batch have room, so that the worker waits in its socket.
 */
export class PythonBatch {
  readonly #sink: BatchSink;
  readonly #flow: ReplyFlow;
  /** Items without an answer; false when nobody reads them any more. */
  readonly #open = new Map<string, boolean>();
  /** Resumes an item whose part waits for a reader that is gone. */
  readonly #leaving = new Map<string, () => void>();
  readonly #startedAt: number;

  /** @param continuous every reply is the last one of the batch; what it announces with `ts_stream_next` comes in a batch of its own */
  constructor(
    items: readonly BatchItem[],
    sink: BatchSink,
    flow: ReplyFlow,
    now: number,
    private readonly continuous = false,
  ) {
    this.#sink = sink;
    this.#flow = flow;
    this.#startedAt = now;
    for (const { id } of items) this.#open.set(id, true);
  }

  /** The number of items that are not answered yet. */
  get size(): number {
    return this.#open.size;
  }

  /** True while this item has no answer. */
  has(id: string): boolean {
    return this.#open.has(id);
  }

  /** The frame of these items; one that cannot be sent fails at once. `undefined` when none is left. */
  frameOf(items: readonly BatchItem[]): Buffer | undefined {
    const requests = items.flatMap((item) => {
      const request = toRequest(item);
      if (request === undefined) this.error(item.id, notARequest(item));
      return request ?? [];
    });
    return requests.length === 0 ? undefined : encodeInfer(requests);
  }

  /**
   * Hands a reply to those who wait for it.
   * @returns true when it was the last one of the batch
   * @throws MarlineError `WORKER_DIED` for an answer to what was not asked
   */
  reply({ code, message, predictions }: Reply, now: number): boolean {
    if (code !== OK) {
      this.failRest(errorOf(code, message));
      return true;
    }
    let isOver = true;
    const taken: Promise<void>[] = [];
    for (const prediction of predictions) {
      const { id, headers } = prediction;
      if (!this.#open.has(id)) throw unexpected(`an answer to ${id}, which is not under way`);
      if (!this.continuous && headers.some(([name, value]) => name === STREAM_HEADER && value === 'true')) {
        isOver = false;
        if (this.#open.get(id) === true) taken.push(this.#chunk(id, resultOf(prediction)));
      } else {
        this.#open.delete(id);
        this.#sink.result(id, resultOf(prediction));
      }
    }
    if (taken.length > 0) {
      this.#flow.pause();
      void Promise.all(taken).then(() => this.#flow.resume());
    }
    if (!isOver) return false;
    this.#sink.ran(predictions.length, now - this.#startedAt);
    const cause = new Error('The Python worker ended a batch without an answer to this request.');
    this.failRest(new MarlineError('INVALID_OUTPUT', {}, { cause }));
    return true;
  }

  error(id: string, error: MarlineError): void {
    if (this.#open.delete(id)) this.#sink.error(id, error);
  }

  cancel(id: string): void {
    if (this.#open.get(id) !== true) return;
    this.#open.set(id, false);
    this.#leaving.get(id)?.();
  }

  /** Fails every item that has no answer yet. */
  failRest(error: MarlineError): void {
    for (const id of this.#open.keys()) {
      this.cancel(id);
      this.error(id, error);
    }
  }

  async #chunk(id: string, chunk: ItemResult): Promise<void> {
    const taken = this.#sink.chunk(id, chunk).catch(() => this.cancel(id));
    const gone = new Promise<void>((resolve) => this.#leaving.set(id, resolve));
    await Promise.race([taken, gone]);
  }
}

/** `undefined` for what no Python handler understands. */
function toRequest({ id, input }: BatchItem): InferRequest | undefined {
  switch (input.kind) {
    case 'raw':
      return { id, headers: input.headers, parameters: input.parameters };
    case 'protocol':
      if (input.jsonBytes !== undefined) return undefined;
      return {
        id,
        headers: '',
        parameters: [{ name: 'body', contentType: 'application/json', value: input.body }],
      };
    case 'tensors':
      return undefined;
  }
}

function notARequest({ input }: BatchItem): MarlineError {
  const reason =
    input.kind === 'tensors'
      ? 'A Python handler takes requests, not tensors: give it what a client would send, such as bytes, a text or data for JSON.'
      : 'A Python handler takes no binary tensors: send them as JSON.';
  return new MarlineError('INVALID_INPUT', { reason });
}

function resultOf({ contentType, status, reason, headers, body }: Prediction): ItemResult {
  // The worker says it twice, but for a handler with a context of its own.
  const isTold = contentType === '' || headers.some(([name]) => name.toLowerCase() === 'content-type');
  const typed: readonly Header[] = isTold ? headers : [['content-type', contentType], ...headers];
  return {
    status,
    reason,
    headers: typed,
    output: { kind: 'bytes', bytes: body, encoding: encodingOf(contentType) },
  };
}

function encodingOf(contentType: string): 'json' | 'text' | 'binary' | 'unknown' {
  if (contentType === '') return 'unknown';
  if (/^application\/json\b/i.test(contentType)) return 'json';
  return /^text\//i.test(contentType) ? 'text' : 'binary';
}

/** The error of a whole batch, with the status and text that TorchServe's front end gives it. */
function errorOf(code: number, message: string): MarlineError {
  const status = code === CONTENT_TOO_LARGE ? INSUFFICIENT_STORAGE : code;
  const known = KNOWN.map((name) => new MarlineError(name)).find(
    (error) => error.status === status && error.message === message,
  );
  return known ?? new MarlineError('PREDICTION_EXCEPTION', { reason: message, status });
}

/** What a worker says must be about what it was asked. */
export function unexpected(what: string): MarlineError {
  return new MarlineError('WORKER_DIED', {}, { cause: new Error(`The Python worker sent ${what}.`) });
}
