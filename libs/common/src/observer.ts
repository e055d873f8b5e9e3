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
  readonly dimensions: Readonly<Record<string, string>>;
}

/** How one request went, in milliseconds. */
export interface RequestTimings {
  readonly queueMs: number;
  readonly runMs: number;
  readonly totalMs: number;
  readonly batchSize: number;
}

/**
 * What happens inside, told to whoever wants to count, log or trace it. A request for a handler of the host application is
 * queued when its tensors are, and finished when its run is; what fails before or after is told as failed. Every hook is empty by default and is called
 * synchronously: it must be quick and must not throw.
 * @publicApi
 */
export abstract class InferenceObserver {
  requestQueued(_ref: ModelRef, _requestId: string): void {}
  requestFinished(_ref: ModelRef, _requestId: string, _timings: RequestTimings): void {}
  requestFailed(_ref: ModelRef, _requestId: string, _error: MarlineError): void {}
  /** A run was spent on a request whose caller was gone when it ended: told as failed then, and not as finished now. */
  runWasted(_ref: ModelRef, _requestId: string): void {}
  workerChanged(_ref: ModelRef, _workerId: number, _state: string, _error?: MarlineError): void {}
  workerLogged(_ref: ModelRef, _workerId: number, _level: 'log' | 'warn' | 'error', _text: string): void {}
  handlerMetric(_ref: ModelRef, _metric: HandlerMetric): void {}
}
