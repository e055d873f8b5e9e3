import { availableParallelism } from 'node:os';
import type { ModelSettings } from './model-settings.js';

type Asked = Pick<ModelSettings, 'maxWorkers' | 'parallelism' | 'config'>;

/**
 * Threads of one run inside PyTorch: what `marline.intraOpThreads` says, or for ranks `OMP_NUMBER_THREADS` of their `torchrun` section (1
 * by default, as in TorchServe), or `OMP_NUM_THREADS` of the server. Else several workers have the cores between them, because PyTorch
 * takes all for each, and threads that wait for one another spin: with two workers on two cores a small network answered 65 to
 * 104 requests a second so, and 1,209 to 1,617 with one thread each, a large one 6 to 10 and 14 to 21.
 * @returns `undefined`: PyTorch decides
 */
export function pythonThreads(
  { maxWorkers, parallelism, config }: Asked,
  environment: Readonly<Record<string, string | undefined>> = process.env,
  cores = availableParallelism(),
): number | undefined {
  const { intraOpThreads } = config.engine;
  const isGroup = parallelism !== undefined && parallelism.type !== 'custom';
  if (isGroup) return config.torchrun?.ompNumberThreads ?? intraOpThreads ?? 1;
  if (intraOpThreads !== undefined) return intraOpThreads;
  if ((environment['OMP_NUM_THREADS'] ?? '') !== '' || maxWorkers < 2) return undefined;
  return Math.max(1, Math.floor(cores / maxWorkers));
}
