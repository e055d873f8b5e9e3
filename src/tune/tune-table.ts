import { align, amount } from '../load/bench-table.js';
import { fitBatchCost, mergeRunTimes, type BatchCost } from './batch-cost.js';
import type { TuneChoice, TuneResult } from './choose-setting.js';

/** All settings, one per line, the chosen one marked. */
export function tuneTable(results: readonly TuneResult[], choice: TuneChoice | undefined): string {
  const head = [
    'workers',
    'threads',
    'batch',
    'callers',
    '/s',
    '±',
    'p50 ms',
    'p99 ms',
    'CPU ms',
    'peak MB',
    '',
  ];
  const rows = results.map((result) => {
    const { setting, callers, measured, failure = '' } = result;
    const numbers =
      measured === undefined
        ? ['-', '-', '-', '-', '-', '-']
        : [
            amount(measured.throughput),
            measured.spread === 0 ? '-' : `${Math.round(100 * measured.spread)} %`,
            amount(measured.p50Ms),
            amount(measured.p99Ms),
            amount(measured.cpuMsPerRequest),
            measured.peakRssMb.toFixed(0),
          ];
    const mark = result === choice?.best ? '← best' : failure.slice(0, 60);
    return [setting.workers, setting.intraOpThreads, setting.batchSize, callers, ...numbers, mark].map(
      String,
    );
  });
  return `${align([head, ...rows]).join('\n')}\n`;
}

/** What a batch costs at the workers and threads of the choice, in a sentence; `undefined` when only one size was run. */
export function batchCostText(results: readonly TuneResult[], { best }: TuneChoice): string | undefined {
  const { workers, intraOpThreads } = best.setting;
  const times = results
    .filter(({ setting }) => setting.workers === workers && setting.intraOpThreads === intraOpThreads)
    .flatMap(({ measured }) => measured?.runTimes ?? []);
  const cost = fitBatchCost(mergeRunTimes(times));
  return cost === undefined ? undefined : describeCost(cost);
}

/** A line that explains less of the differences between batches is no line. */
const BELIEVABLE = 0.8;

function describeCost({ perItemMs, fixedMs, r2 }: BatchCost): string {
  const line = `a batch of n takes ${amount(perItemMs)}·n ${fixedMs < 0 ? '-' : '+'} ${amount(Math.abs(fixedMs))} ms (R² ${r2.toFixed(3)})`;
  if (r2 < BELIEVABLE || perItemMs <= 0) return `${line}: too noisy to say what batches save`;
  if (fixedMs <= 0) return `${line}: batches save nothing in the run`;
  return `${line}: batches can save up to ${Math.round((100 * fixedMs) / (fixedMs + perItemMs))} % of a run's time per item`;
}
