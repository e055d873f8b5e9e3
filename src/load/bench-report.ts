import { availableParallelism, cpus, platform, release } from 'node:os';
import { VERSION } from '#libs/common';
import type { Arrivals } from './arrivals.js';
import type { LoadMeasurement } from './load-recorder.js';
import type { LoadEnd } from './load-run.js';

/** What one run asked of the server. */
export type BenchLoad =
  | { readonly kind: 'closed'; readonly connections: number }
  | {
      readonly kind: 'open';
      readonly arrivals: Arrivals;
      /** Requests per second. */
      readonly rate: number;
      readonly maxConnections: number;
      /** In a sweep: the rate as a share of the capacity that was measured before. */
      readonly capacityShare?: number;
    };

/** One run: what was asked, and what was measured. */
export interface BenchRun extends LoadMeasurement {
  readonly load: BenchLoad;
  readonly end: LoadEnd;
  /** Cores that the load generator itself was busy with; near 1 it may have been the limit. */
  readonly generatorCores: number;
}

/** The JSON result of `marline bench`. Times are milliseconds where a name does not say otherwise. */
export interface BenchReport {
  readonly schema: 'marline-bench/1';
  /** ISO 8601. */
  readonly startedAt: string;
  readonly generator: string;
  readonly machine: string;
  readonly target: {
    readonly url: string;
    readonly method: string;
    /** Bytes of each body, which are sent in turn. */
    readonly bodyBytes: readonly number[];
  };
  readonly warmupSeconds: number;
  readonly timeoutMs: number;
  readonly deadlineMs: number | null;
  readonly runs: readonly BenchRun[];
}

/** This program, for a result that is to be compared with others. */
export function generatorName(): string {
  return `marline ${VERSION} on Node.js ${process.versions.node}`;
}

/** This machine, for a result that is to be compared with others. */
export function machineName(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${availableParallelism()} × ${model}, ${platform()} ${release()} ${process.arch}`;
}

/** A run in a few characters: `closed, 8` or `75 %`. */
export function loadName(load: BenchLoad): string {
  if (load.kind === 'closed') return `closed, ${load.connections}`;
  return load.capacityShare === undefined ? load.arrivals : `${Math.round(load.capacityShare * 100)} %`;
}

/**
 * Why the runs are no sound measurement; `undefined` when they are. Overload (429, 503, 504, requests never sent) is a
 * result; anything else that went wrong is not.
 */
export function problemOf(runs: readonly BenchRun[]): string | undefined {
  const problems = runs.flatMap((run) => {
    const name = loadName(run.load);
    const unexpected = Object.entries(run.statuses).filter(
      ([status]) => !status.startsWith('2') && !['429', '503', '504'].includes(status),
    );
    return [
      ...(run.end === 'server gone' ? [`${name}: the server was gone before the end.`] : []),
      ...run.failures.map(
        ({ failure, count, example }) =>
          `${name}: ${count} of ${run.due} requests failed (${failure}: ${example}).`,
      ),
      ...unexpected.map(
        ([status, count]) => `${name}: ${count} of ${run.due} answers have the status ${status}.`,
      ),
      ...(run.latencyMs === null ? [`${name}: no request had an answer of 200 to 299.`] : []),
    ];
  });
  return problems.length === 0 ? undefined : problems.join('\n');
}
