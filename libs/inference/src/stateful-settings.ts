import { MarlineError } from '#libs/common';
import type { ModelConfig } from '#libs/archive';
import type { SequenceLimits } from './sequence-batcher.js';

/** How the workers of a version remember requests. */
export interface StatefulSettings {
  /** A request stays in the batches of its worker until its answer is complete (`continuousBatching`). */
  readonly continuous: boolean;
  /** Requests belong to sequences (`sequenceBatching`). */
  readonly limits?: SequenceLimits;
}

/**
 * What `model-config.yaml` says about it; `undefined` when workers remember nothing.
 * @throws MarlineError `BAD_REQUEST` for sequences that would never end
 */
export function statefulSettings(config: ModelConfig): StatefulSettings | undefined {
  const { continuousBatching: continuous = false, sequenceBatching = false } = config;
  if (!sequenceBatching) return continuous ? { continuous } : undefined;
  const { sequenceMaxIdleMSec: maxIdleMs = 0, sequenceTimeoutMSec: timeoutMs = 0 } = config;
  if (maxIdleMs === 0) {
    throw new MarlineError('BAD_REQUEST', {
      reason:
        'model-config.yaml has sequenceBatching without a sequenceMaxIdleMSec above 0: give the milliseconds after which a sequence without requests is over.',
    });
  }
  const { maxNumSequence: most = 1, maxSequenceJobQueueSize: queueSize = 1 } = config;
  return { continuous, limits: { most, queueSize, maxIdleMs, timeoutMs } };
}
