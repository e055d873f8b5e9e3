/** Several processes, the ranks, that serve as one worker: `torchrun` starts them. Names and defaults are those of its command line. */
export interface RankGroup {
  /** Ranks on this machine. */
  readonly ranks: number;
  /** True: every rank gets every batch; false: rank 0 gets it and passes on what the others need. Rank 0 alone answers. */
  readonly toAll: boolean;
  /** What the rendezvous of this group is called. */
  readonly name: string;
  /** Machines; 1 by default. */
  readonly nodes?: number;
  /** `c10d` by default. */
  readonly rendezvousBackend?: string;
  /** `host:port`; on one machine a free port of this one by default, so that no two groups meet there. */
  readonly rendezvousEndpoint?: string;
  readonly masterAddress?: string;
  readonly masterPort?: number;
}

/**
 * The arguments with which Python runs a group.
 * @param logDir for what torchrun writes
 * @param rank the command of one rank
 */
export function torchrunArguments(group: RankGroup, logDir: string, rank: readonly string[]): string[] {
  const { nodes = 1, rendezvousBackend = 'c10d', masterAddress, masterPort } = group;
  const endpoint = group.rendezvousEndpoint ?? (nodes === 1 ? '127.0.0.1:0' : undefined);
  // Values stand behind an equals sign, so that none is taken for an option.
  return [
    '-m',
    'torch.distributed.run',
    `--nnodes=${nodes}`,
    `--nproc-per-node=${group.ranks}`,
    `--log-dir=${logDir}`,
    `--rdzv-backend=${rendezvousBackend}`,
    ...(endpoint === undefined ? [] : [`--rdzv-endpoint=${endpoint}`]),
    `--rdzv-id=${group.name}`,
    ...(masterAddress === undefined
      ? []
      : [`--master-addr=${masterAddress}`, `--master-port=${masterPort ?? 0}`]),
    // The ranks would be started again without a model: that is the pool's part.
    '--max-restarts=0',
    ...(nodes === 1 ? ['--local-addr=127.0.0.1'] : []),
    '--no-python',
    ...rank,
  ];
}
