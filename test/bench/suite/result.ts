import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describeMachine, type Machine } from './machine.js';

/** What must be shown, and the values of the rounds. */
export interface Aim {
  readonly what: string;
  readonly sign: '≤' | '<' | '≥';
  readonly asked: number;
  readonly unit: string;
  readonly values: readonly number[];
  /** Judged by the round at this share from the worst to the best; by the median (0.5) unless given. */
  readonly judgedAt?: number;
}

/** A table of series: each cell holds the values of its rounds. */
export interface ResultTable {
  readonly columns: readonly string[];
  readonly rows: readonly { readonly title: string; readonly cells: readonly (readonly number[])[] }[];
}

/** What a benchmark measured, complete enough to be printed by who knows nothing of it. */
export interface BenchResult {
  readonly name: string;
  readonly title: string;
  /** How it was measured: lines of Markdown. */
  readonly method: readonly string[];
  readonly rounds: number;
  readonly aims: readonly Aim[];
  readonly tables: readonly ResultTable[];
}

/** A result as it is kept. */
export interface StoredResult extends BenchResult {
  readonly startedAt: string;
  readonly machine: Machine;
}

/** The benchmarks of the suite, in the order of the report. */
export const BENCHMARKS = [
  'latency',
  'gateway',
  'overload',
  'adaptive',
  'isolation',
  'memory',
  'models',
  'scale-up',
  'cold-start',
  'infer',
  'soak',
  'python',
] as const;
/** `gpu` is not one of them: few machines have a GPU, so what was measured on one is kept by hand in docs/performance/gpu.md. */
export type Benchmark = (typeof BENCHMARKS)[number] | 'gpu';

const FOLDER = fileURLToPath(new URL('../../../.marline/bench-results/', import.meta.url));

/** Keeps a result in `.marline/bench-results`, in the place of the one before. */
export function saveResult(result: BenchResult, startedAt: Date, machine: Machine): StoredResult {
  const stored: StoredResult = { ...result, startedAt: startedAt.toISOString(), machine };
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}${result.name}.json`, `${JSON.stringify(stored, undefined, 1)}\n`);
  return stored;
}

/** The result of the last run, if there was one. */
export function readResult(name: Benchmark): StoredResult | undefined {
  const file = `${FOLDER}${name}.json`;
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as StoredResult) : undefined;
}

/** Runs a benchmark and keeps what it measured. */
export async function runBenchmark(run: () => Promise<BenchResult>): Promise<StoredResult> {
  const startedAt = new Date();
  const machine = describeMachine();
  return saveResult(await run(), startedAt, machine);
}
