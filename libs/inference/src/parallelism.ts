import type { ModelConfig } from '#libs/archive';
import { MarlineError } from '#libs/common';
import type { Device } from './devices.js';
import type { Placement } from './placement.js';

/** How one worker of a Python archive is several, in TorchServe's words. */
export interface Parallelism {
  /** `tp`, `pp`, `pptp`: torchrun starts `level` processes. `custom`: one process that does it itself. */
  readonly type: 'tp' | 'pp' | 'pptp' | 'custom';
  /** Processes, and GPUs, of one worker. */
  readonly level: number;
}

/**
 * What `parallelType`, `parallelLevel` and `torchrun` ask for; `undefined` without a `parallelType`, as in TorchServe.
 * @throws MarlineError `OPTIONS_INVALID` for what TorchServe's worker cannot do
 */
export function parallelismOf({
  parallelType,
  parallelLevel = 1,
  asyncCommunication,
}: ModelConfig): Parallelism | undefined {
  if (parallelType === undefined) return undefined;
  if (asyncCommunication === true && (parallelType === 'tp' || parallelType === 'pptp')) {
    const reason = `parallelType: ${parallelType} sends batches to all ranks, and with asyncCommunication TorchServe's worker ends where it has nothing to answer. Leave out asyncCommunication, or use parallelType: pp or custom.`;
    throw new MarlineError('OPTIONS_INVALID', { reason });
  }
  return { type: parallelType, level: Math.max(1, parallelLevel) };
}

/**
 * Workers that there is room for when each takes `level` GPUs; `Infinity` without GPUs.
 * @throws MarlineError `DEVICE_UNAVAILABLE` when there is none for one worker
 */
export function parallelWorkers(
  { level }: Parallelism,
  placement: Placement,
  inventory: readonly Device[],
): number {
  if (placement.deviceType === 'cpu') return Infinity;
  const gpus =
    placement.devices?.length ??
    placement.deviceIds?.length ??
    inventory.filter(({ kind }) => kind === 'gpu').length;
  const most = Math.floor(gpus / level);
  if (most > 0) return most;
  const reason = `One worker of this model takes ${level} GPUs (parallelLevel, or nproc-per-node of torchrun), and there are ${gpus} for it. Lower that number, or set deviceType: cpu.`;
  throw new MarlineError('DEVICE_UNAVAILABLE', { reason });
}
