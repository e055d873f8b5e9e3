import { envOf } from '#libs/pool';

/**
 * What of this process's environment a Python worker sees: code of archives runs there, and secrets are none of its
 * business. These are what Python, its native libraries and the caches of model files need.
 */
const VISIBLE = [
  'PATH',
  'HOME',
  'TZ',
  'LANG',
  'LC_ALL',
  'TMPDIR',
  'LD_LIBRARY_PATH',
  'PYTHONPATH',
  'PYTHONHASHSEED',
  'CUDA_HOME',
  'CUDA_VISIBLE_DEVICES',
  'NVIDIA_VISIBLE_DEVICES',
  'HIP_VISIBLE_DEVICES',
  'XPU_VISIBLE_DEVICES',
  'OMP_NUM_THREADS',
  'MKL_NUM_THREADS',
  'XDG_CACHE_HOME',
  'TORCH_HOME',
  'HF_HOME',
] as const;

/** The variables above, and those called `names`, as they are in this process. */
export function visibleEnv(names: readonly string[] = []): Record<string, string> {
  return envOf([...VISIBLE, ...names]);
}
