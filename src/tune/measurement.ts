import type { EncodedError, TensorMetadata } from '#libs/common';
import type { RunTimes } from './batch-cost.js';

/** What a measuring process is told. */
export interface MeasurementOrder {
  /** Folder of the archive, and its name in it. */
  readonly modelStore: string;
  readonly archive: string;
  readonly cacheDir: string;
  /** The `model-config.yaml` to measure, as text. */
  readonly config: string;
  /** A request's body, sent as a client would; tensors made for the model's inputs without it. */
  readonly input?: { readonly body: Uint8Array; readonly contentType: string };
  /** Requests under way at a time. */
  readonly callers: number;
  readonly warmupMs: number;
  readonly durationMs: number;
}

/** What one setting did in one slice of time. */
export interface Measurement {
  readonly inputs: readonly TensorMetadata[];
  /** Answers per second. */
  readonly throughput: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the thread that calls and of all workers, also of those that are processes. */
  readonly cpuMsPerRequest: number;
  readonly peakRssMb: number;
  readonly runTimes: readonly RunTimes[];
}

/** What it answers. */
export type MeasurementAnswer =
  | { readonly kind: 'measured'; readonly measurement: Measurement }
  | { readonly kind: 'failed'; readonly error: EncodedError };
