import type { TensorMetadata } from '#libs/common';

/** What is measured and chosen. */
export interface TuneSetting {
  /** Most requests in one run of the model. */
  readonly batchSize: number;
  /** Threads that each run the model. */
  readonly workers: number;
  /** Threads of one run inside ONNX Runtime. */
  readonly intraOpThreads: number;
}

/** What the choice of settings follows from. */
export interface TuneLimits {
  readonly cores: number;
  /** Inputs of the model: a fixed batch axis bounds the batches. */
  readonly inputs: readonly TensorMetadata[];
  /** Milliseconds of a run with one item. */
  readonly singleMs: number;
  /** Exactly these instead of the usual ones. */
  readonly batchSizes?: readonly number[];
  readonly workers?: readonly number[];
  readonly intraOpThreads?: readonly number[];
}

const BATCH_SIZES = [1, 2, 4, 8, 16, 32];
/** Whoever waits longer than this for a batch wants answers, not throughput; larger batches are tried only on demand. */
const LONGEST_BATCH_MS = 1000;

/**
 * The settings to measure. Unless they are given: batches of powers of two; one worker, half as many as cores and one for
 * each core, with as many threads each as the cores allow.
 */
export function tuneSettings(limits: TuneLimits): TuneSetting[] {
  const { cores, singleMs } = limits;
  const spread = [...new Set([1, Math.max(1, Math.floor(cores / 2)), cores])];
  const usual = limits.workers === undefined && limits.intraOpThreads === undefined;
  const placements = (limits.workers ?? spread).flatMap((workers) =>
    (limits.intraOpThreads ?? spread)
      .filter((threads) => !usual || workers * threads <= cores)
      .map((intraOpThreads) => ({ workers, intraOpThreads })),
  );
  const most = largestBatch(limits.inputs);
  const asked =
    limits.batchSizes ?? BATCH_SIZES.filter((size) => size === 1 || size * singleMs <= LONGEST_BATCH_MS);
  const sizes = [...new Set(asked.map((size) => Math.min(size, most)))];
  return placements.flatMap((placement) => sizes.map((batchSize) => ({ batchSize, ...placement })));
}

/** `2 workers × 1 thread, batches of up to 4`. */
export function settingName({ batchSize, workers, intraOpThreads }: TuneSetting): string {
  const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;
  const batches = batchSize === 1 ? 'no batches' : `batches of up to ${batchSize}`;
  return `${plural(workers, 'worker')} × ${plural(intraOpThreads, 'thread')}, ${batches}`;
}

function largestBatch(inputs: readonly TensorMetadata[]): number {
  const fixed = inputs.flatMap(({ shape: [rows] }) => (typeof rows === 'number' && rows > 0 ? [rows] : []));
  return Math.min(Infinity, ...fixed);
}
