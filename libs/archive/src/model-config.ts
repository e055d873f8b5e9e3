/**
 * What `model-config.yaml` says, sanitised as TorchServe's front end does (spec 01 §4): a value of the wrong type or
 * out of range is left out, as if the key were absent. All keys of the file, also unknown ones, are in `raw` for the handler.
 */
export interface ModelConfig {
  readonly minWorkers?: number;
  readonly maxWorkers?: number;
  readonly batchSize?: number;
  /** Milliseconds. */
  readonly maxBatchDelay?: number;
  /** Seconds. */
  readonly responseTimeout?: number;
  /** Seconds. */
  readonly startupTimeout?: number;
  readonly deviceType?: 'cpu' | 'gpu';
  readonly deviceIds?: readonly number[];
  readonly parallelType?: string;
  readonly parallelLevel?: number;
  /** Seconds. */
  readonly maxRetryTimeoutInSec?: number;
  readonly clientTimeoutInMills?: number;
  readonly jobQueueSize?: number;
  readonly useJobTicket?: boolean;
  readonly continuousBatching?: boolean;
  readonly sequenceBatching?: boolean;
  readonly sequenceMaxIdleMSec?: number;
  readonly sequenceTimeoutMSec?: number;
  readonly maxSequenceJobQueueSize?: number;
  readonly maxNumSequence?: number;
  readonly asyncCommunication?: boolean;
  readonly useVenv?: boolean;
  /** The whole document as plain data; `{}` without a configuration file. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** Sentences about keys that were left out and why; empty when all is well. */
  readonly warnings: readonly string[];
}
