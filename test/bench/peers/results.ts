import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { peersFolder } from './folders.js';
import type { Machine } from './machine.js';

/** The start of a run. */
export interface RunRecord {
  readonly type: 'run';
  readonly startedAt: string;
  readonly machine: Machine;
}

/** A server that was started for a model. */
export interface ServerRecord {
  readonly type: 'server';
  readonly model: string;
  readonly peer: string;
  readonly says: string;
  /** Cold starts to the first answer, ms. */
  readonly startMs: readonly number[];
  /** Largest difference of its answer from the raw loop's. */
  readonly difference: number;
}

/** A server that is not in the comparison of a model, and why. */
export interface FailureRecord {
  readonly type: 'failure';
  readonly model: string;
  readonly peer: string;
  readonly reason: string;
}

/** Memory of a server's processes after all rounds, MB. */
export interface MemoryRecord {
  readonly type: 'memory';
  readonly model: string;
  readonly peer: string;
  readonly pssMb: number;
  readonly rssMb: number;
  readonly processes: number;
}

/** One stretch of load: CPU in seconds, latencies in milliseconds. */
export interface MeasureRecord {
  readonly type: 'measure';
  readonly model: string;
  readonly peer: string;
  readonly round: number;
  readonly connections: number;
  readonly requests: number;
  readonly seconds: number;
  readonly errors: number;
  readonly p50: number;
  readonly p99: number;
  readonly cpu: number;
  /** What everything else on the machine used meanwhile, and what its host took away, in cores. */
  readonly others: number;
  readonly steal: number;
}

/** A round of a model that was measured to its end. */
export interface RoundRecord {
  readonly type: 'round';
  readonly model: string;
  readonly round: number;
}

export type ResultRecord =
  RunRecord | ServerRecord | FailureRecord | MemoryRecord | MeasureRecord | RoundRecord;

const file = (): string => `${peersFolder('results')}/latest.jsonl`;

/** The records of the last run, as far as it came. */
export function readResults(): ResultRecord[] {
  if (!existsSync(file())) return [];
  return readFileSync(file(), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ResultRecord);
}

/** Forgets the last run. */
export function clearResults(): void {
  writeFileSync(file(), '');
}

/** Written at once, so that an interrupted run can be reported and taken up again. */
export function record(result: ResultRecord): void {
  appendFileSync(file(), `${JSON.stringify(result)}\n`);
}
