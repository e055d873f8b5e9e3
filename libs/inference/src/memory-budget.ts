import { readdir, stat } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { MarlineError } from '#libs/common';
import type { ModelSettings } from './model-settings.js';

const MB = 2 ** 20;
/** Of the memory that the process may use, what models may take; the rest is for requests, the application and the system. */
const DEFAULT_PART = 0.9;

/** A worker without a model: its JavaScript heap, what it imports and its share of ONNX Runtime. */
const WORKER_BYTES = { thread: 25 * MB, process: 70 * MB, none: 0 } as const;
/** A Python worker without a model: Python, PyTorch and what they import. */
const PYTHON_BYTES = 200 * MB;
/** What a run needs beside the weights: never more than this was found for models that are shared. */
const RUN_BYTES = 20 * MB;
/** A worker with a copy of its own holds the weights as they are in the file, and once more in the layout of the kernels. */
const COPY_FACTOR = 2.5;

/** What the workers of one version take, by estimate. */
export interface Footprint {
  /** Once, whatever the number of workers. */
  readonly sharedBytes: number;
  readonly workerBytes: number;
}

/**
 * The estimate by which models are admitted: on the safe side, because what runs out of memory is ended by the system with all
 * that it serves. Measured growth of a gateway's memory per worker: 27 MB and 32 MB for MiniLM (90 MB) and ResNet-50 (102 MB)
 * with shared weights, 87, 136 and 265 MB for EfficientNet-lite0 (19 MB) and these two without, 22–29 MB for an MLP.
 * The memory of GPUs is not in it: ONNX Runtime for Node cannot bound it.
 * @param modelBytes the model's file and all that lies beside it in the archive; 0 without a model
 */
export function footprintOf(
  modelBytes: number,
  settings: Pick<ModelSettings, 'isolation' | 'deviceType' | 'memoryLimitMb' | 'runsPython' | 'parallelism'>,
  shareWeightsAboveBytes: number,
): Footprint {
  const { isolation, deviceType, memoryLimitMb, runsPython, parallelism } = settings;
  const own = WORKER_BYTES[isolation];
  const limit = memoryLimitMb === undefined ? Infinity : memoryLimitMb * MB;
  if (runsPython) {
    // The processes of a group have the model between them.
    const processes = parallelism === undefined || parallelism.type === 'custom' ? 1 : parallelism.level;
    return {
      sharedBytes: 0,
      workerBytes: Math.min(limit * processes, PYTHON_BYTES * processes + modelBytes),
    };
  }
  // The shared form is laid out for the CPU.
  const shared = modelBytes > 0 && modelBytes >= shareWeightsAboveBytes && deviceType === 'cpu';
  const model = shared
    ? Math.min(modelBytes, RUN_BYTES)
    : Math.min(modelBytes, RUN_BYTES) + modelBytes * COPY_FACTOR;
  return { sharedBytes: shared ? modelBytes : 0, workerBytes: Math.min(limit, Math.round(own + model)) };
}

/** Bytes of a footprint with this many workers; none without workers. */
export function bytesOf({ sharedBytes, workerBytes }: Footprint, workers: number): number {
  return workers === 0 ? 0 : sharedBytes + workers * workerBytes;
}

/** Whole megabytes, rounded up. */
export function toMb(bytes: number): number {
  return Math.ceil(bytes / MB);
}

/** What {@link MemoryBudget.claim} says when it refuses. */
export interface Claim {
  readonly model: string;
  readonly workers: number;
  readonly bytes: number;
}

/** Which version may use how much of the memory that all models have together. */
export class MemoryBudget {
  readonly #limit: number;
  readonly #claims = new Map<object, number>();

  /** @param limitMb megabytes; 0: no limit */
  constructor(readonly limitMb: number) {
    this.#limit = limitMb === 0 ? Infinity : limitMb * MB;
  }

  get usedBytes(): number {
    return [...this.#claims.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Sets what a version takes in all. Taking less never fails.
   * @throws MarlineError `INSUFFICIENT_MEMORY`; then it keeps what it had
   */
  claim(owner: object, claim: Claim): void {
    this.check(owner, claim);
    this.#claims.set(owner, claim.bytes);
  }

  /** What {@link MemoryBudget.claim} would do, without doing it. @throws MarlineError `INSUFFICIENT_MEMORY` */
  check(owner: object, { model, workers, bytes }: Claim): void {
    const has = this.#claims.get(owner) ?? 0;
    const available = this.#limit - (this.usedBytes - has);
    if (bytes <= available || bytes <= has) return;
    throw new MarlineError('INSUFFICIENT_MEMORY', {
      model,
      workers,
      neededMb: toMb(bytes),
      availableMb: Math.max(0, Math.floor(available / MB)),
    });
  }

  release(owner: object): void {
    this.#claims.delete(owner);
  }
}

/**
 * Megabytes that all models may take when nobody says: 90 % of what the process may use. On by default, because a process that
 * exceeds a container's limit is ended with all models, and a refusal costs one.
 */
export function defaultMemoryBudgetMb(constrained = process.constrainedMemory(), total = totalmem()): number {
  // 0, or far more than there is, stands for no limit.
  const usable = constrained > 0 ? Math.min(constrained, total) : total;
  return Math.floor((usable * DEFAULT_PART) / MB);
}

/** Bytes of all files below a folder. */
export async function folderBytes(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
