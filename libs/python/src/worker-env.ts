import { realpathSync } from 'node:fs';
import { delimiter, dirname } from 'node:path';
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

/** What a worker's environment depends on. */
export interface EnvOptions {
  /** The unpacked archive. */
  readonly archiveDir: string;
  /** Where else it finds modules, before those of its interpreter. */
  readonly modulesDir?: string;
  /** Variables of this process's environment that the worker sees beside those that Python needs. */
  readonly env: readonly string[];
  /** Variables of this process's environment that it does not see, whatever else is said: the whole name must match. */
  readonly hiddenEnv?: RegExp;
  /** False leaves JSON and texts to the handler as the bytes that they came as. */
  readonly decodeInputRequest: boolean;
  /** Variables that only the worker has. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Threads of one run inside PyTorch; when absent it is `OMP_NUM_THREADS` of this process, else as many as there are cores. */
  readonly threads?: number;
  /** What `CUDA_VISIBLE_DEVICES` is for it; when absent as for this process. */
  readonly visibleDevices?: string;
}

/** The variables above, and those called `names`, as they are in this process. */
export function visibleEnv(names: readonly string[] = [], hidden?: RegExp): Record<string, string> {
  return envOf([...VISIBLE, ...names].filter((name) => hidden?.test(name) !== true));
}

/** The environment of a worker. */
export function workerEnv(options: EnvOptions, torchServeDir: string): Record<string, string> {
  const { env, hiddenEnv, decodeInputRequest, threads, visibleDevices } = options;
  const visible = visibleEnv(env, hiddenEnv);
  return {
    ...visible,
    PYTHONPATH: pythonPath(visible['PYTHONPATH'], options, torchServeDir),
    // The unpacked archive is shared by all who serve it.
    PYTHONDONTWRITEBYTECODE: '1',
    PYTHONUNBUFFERED: '1',
    TS_DECODE_INPUT_REQUEST: String(decodeInputRequest),
    TS_IPEX_ENABLE: 'false',
    TS_IPEX_GPU_ENABLE: 'false',
    ...options.variables,
    ...(threads !== undefined && { OMP_NUM_THREADS: String(threads) }),
    ...(visibleDevices !== undefined && { CUDA_VISIBLE_DEVICES: visibleDevices }),
  };
}

/** Where Python looks for modules: as TorchServe's front end sets it. */
function pythonPath(
  given: string | undefined,
  { archiveDir, modulesDir }: EnvOptions,
  torchServeDir: string,
): string {
  const home = dirname(torchServeDir);
  const installed = /(site|dist)-packages$/.test(home);
  return [given, realpathSync(archiveDir), modulesDir, installed ? undefined : home]
    .filter((path) => path !== undefined && path !== '')
    .join(delimiter);
}
