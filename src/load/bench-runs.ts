import { arrivalTimes, seededRandom, type Arrivals } from './arrivals.js';
import type { BenchLoad, BenchRun } from './bench-report.js';
import { HttpTransport } from './http-transport.js';
import { runLoad } from './load-run.js';
import type { LoadTarget } from './load-target.js';
import { Pacer, liveClock } from './pacer.js';

/** How the runs of a bench are made. */
export interface BenchPlan {
  readonly target: LoadTarget;
  /** Clients of the closed loop. */
  readonly connections: number;
  /** Requests under way at a time in an open loop. */
  readonly maxConnections: number;
  readonly arrivals: Arrivals;
  /** Requests per second of an open loop; a closed loop without it. */
  readonly rate?: number;
  /** The closed loop first, then open loops at shares of the capacity that it finds. */
  readonly sweep: boolean;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly timeoutMs: number;
  readonly deadlineMs?: number;
  readonly signal: AbortSignal;
  /** Told before each run. */
  readonly announce: (load: BenchLoad) => void;
}

/** The loads of a sweep, as shares of the capacity. */
const SWEEP = [0.25, 0.5, 0.75, 0.9, 1.1];

/** All runs meet the same random numbers. */
const SEED = 20_260_101;

/** Runs what the plan says, one load after the other. An interruption ends them; what was measured so far is given back. */
export async function benchRuns(plan: BenchPlan): Promise<BenchRun[]> {
  const { rate, connections, arrivals, maxConnections } = plan;
  const first: BenchLoad =
    rate === undefined ? { kind: 'closed', connections } : { kind: 'open', arrivals, rate, maxConnections };
  const runs = [await benchRun(plan, first)];
  const capacity = runs[0]?.throughput ?? 0;
  if (!plan.sweep || capacity === 0) return runs;
  for (const capacityShare of SWEEP) {
    if (runs.at(-1)?.end !== 'complete' || plan.signal.aborted) break;
    const rate = capacity * capacityShare;
    runs.push(await benchRun(plan, { kind: 'open', arrivals, rate, maxConnections, capacityShare }));
  }
  return runs;
}

async function benchRun(plan: BenchPlan, load: BenchLoad): Promise<BenchRun> {
  plan.announce(load);
  const { target, timeoutMs } = plan;
  const maxConnections = load.kind === 'closed' ? load.connections : load.maxConnections;
  const transport = new HttpTransport(target, { maxConnections, timeoutMs });
  const pacer = load.kind === 'open' ? new Pacer() : undefined;
  const startedAt = performance.now();
  const cpu = process.cpuUsage();
  try {
    const measured = await runLoad({
      shape:
        load.kind === 'closed'
          ? { kind: 'closed', clients: load.connections }
          : { kind: 'open', arrivals: arrivalTimes(load.arrivals, load.rate, seededRandom(SEED)) },
      ...plan,
      transport,
      clock: liveClock,
      pacer,
    });
    const { user, system } = process.cpuUsage(cpu);
    const generatorCores = (user + system) / 1000 / (performance.now() - startedAt);
    return { load, ...measured, generatorCores };
  } finally {
    transport.close();
    await pacer?.close();
  }
}
