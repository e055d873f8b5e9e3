import type { MarlineError } from './errors.js';

/** Which model version an event is about. */
export interface ModelRef {
  readonly model: string;
  readonly version: string;
}

/** A metric that a handler reported, in TorchServe's terms. */
export interface HandlerMetric {
  readonly name: string;
  readonly value: number;
  /** `Milliseconds`, `Megabytes`, `Percent`, `Count`, … */
  readonly unit: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** By name, in the order in which the handler gave them. */
  readonly dimensions: Readonly<Record<string, string>>;
  /** Ids of the requests that it is about, joined by commas; absent where it is about none. */
  readonly requestIds?: string;
}

/** How one request went, in milliseconds. */
export interface RequestTimings {
  readonly queueMs: number;
  /** The part of it in which an idle worker waited for the batch to fill (`maxBatchDelay`). */
  readonly batchWaitMs: number;
  readonly runMs: number;
  readonly totalMs: number;
  readonly batchSize: number;
}

/** How long a caller waited for an answer, in milliseconds. */
export interface AnswerTimings {
  /** Until a worker had it; of a host handler, what its runs of the model waited together. */
  readonly queueMs: number;
  /** From the call to the answer, or to the first part of a stream. */
  readonly totalMs: number;
}

/** One run of a worker, in milliseconds. */
export interface RunTimings {
  readonly items: number;
  /** What the worker spent on it, hooks, decoding and encoding included. */
  readonly durationMs: number;
  /** What it took to get the batch to the worker and the answers back. */
  readonly handOverMs: number;
}

/**
 * What the hooks of a run spent beside the model, in milliseconds: before the model was asked first, and after it answered last. All is
 * `preMs` when the model was not asked at all.
 */
export interface HookTimings {
  readonly preMs: number;
  readonly postMs: number;
}

/**
 * What happens inside, told to whoever wants to count, log or trace it. A request for a handler of the host application is
 * queued when its tensors are, and finished when its run is; what fails before or after is told as failed. Every hook is empty by default and is called
 * synchronously: it must be quick and must not throw.
 * @publicApi
 */
export abstract class InferenceObserver {
  /**
   * True to be told, with `workerLogged`, what JavaScript handlers print in worker threads and processes: lines of at most 8,192
   * characters, 200 a second for each worker. Otherwise it goes where the output of this process goes. Asked once.
   */
  get takesOutput(): boolean {
    return false;
  }

  /**
   * A model is asked, whatever becomes of it.
   * @param asked the version that the caller named; `undefined`: whichever is the default
   */
  requestReceived(_ref: ModelRef, _requestId: string, _asked: string | undefined): void {}
  /** A caller has its answer; who has none is told of as failed. */
  requestAnswered(
    _ref: ModelRef,
    _requestId: string,
    _timings: AnswerTimings,
    _asked: string | undefined,
  ): void {}
  requestQueued(_ref: ModelRef, _requestId: string): void {}
  requestFinished(_ref: ModelRef, _requestId: string, _timings: RequestTimings): void {}
  requestFailed(_ref: ModelRef, _requestId: string, _error: MarlineError): void {}
  /** A run was spent on a request whose caller was gone when it ended: told as failed then, and not as finished now. */
  runWasted(_ref: ModelRef, _requestId: string): void {}
  /** A worker ended a run. */
  batchRan(_ref: ModelRef, _timings: RunTimings): void {}
  /**
   * The hooks of a JavaScript handler, built-in ones included, were done with a batch, or one request, after `durationMs`.
   * @param timings left out when `handle` did it all
   */
  hooksRan(_ref: ModelRef, _durationMs: number, _timings?: HookTimings): void {}
  workerChanged(_ref: ModelRef, _workerId: number, _state: string, _error?: MarlineError): void {}
  workerLogged(_ref: ModelRef, _workerId: number, _level: 'log' | 'warn' | 'error', _text: string): void {}
  handlerMetric(_ref: ModelRef, _metric: HandlerMetric): void {}
}
