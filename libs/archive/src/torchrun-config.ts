/** The section `torchrun` of a `model-config.yaml`, but for `nproc-per-node`, which is the model's `parallelLevel`. */
export interface TorchrunConfig {
  readonly nnodes?: number;
  readonly rdzvBackend?: string;
  readonly rdzvEndpoint?: string;
  readonly masterAddr?: string;
  readonly masterPort?: number;
  /** Threads of one run inside each of the processes. */
  readonly ompNumberThreads?: number;
}

const INTEGERS = {
  nnodes: 'nnodes',
  'master-port': 'masterPort',
  OMP_NUMBER_THREADS: 'ompNumberThreads',
} as const;
const TEXTS = {
  'rdzv-backend': 'rdzvBackend',
  'rdzv-endpoint': 'rdzvEndpoint',
  'master-addr': 'masterAddr',
} as const;
const LARGEST = 65_535;

/**
 * Reads the section. What is of the wrong kind is left out and told.
 * @param leaveOut is told of a key, and what it must be
 */
export function readTorchrun(
  section: Readonly<Record<string, unknown>>,
  leaveOut: (key: string, why: string) => void,
): TorchrunConfig {
  const config: { -readonly [K in keyof TorchrunConfig]: unknown } = {};
  for (const [key, name] of Object.entries(INTEGERS)) {
    const value = section[key];
    if (value === undefined) continue;
    if (Number.isInteger(value) && (value as number) > 0 && (value as number) <= LARGEST)
      config[name] = value;
    else leaveOut(`torchrun.${key}`, `it must be a whole number from 1 to ${LARGEST}`);
  }
  for (const [key, name] of Object.entries(TEXTS)) {
    const value = section[key];
    if (value === undefined) continue;
    if (typeof value === 'string' && /^[\w.:[\]-]+$/.test(value)) config[name] = value;
    else leaveOut(`torchrun.${key}`, 'it must be a name or an address');
  }
  return config as TorchrunConfig;
}
