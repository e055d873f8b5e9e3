import { asData } from './comparison.js';
import { DIFFERENCES } from './differences.js';
import { JAVASCRIPT_DIFFERENCES } from './javascript-differences.js';
import type { Recorded } from './records.js';
import { lookup, runsOf, type Comparison, type RecordFile } from './replay.js';

/** Compares what the inference ports answered, as data instead of text. */
export const AS_DATA: Comparison = {
  isCompared: ({ kind, request }) => {
    if (kind === 'grpc') return request.target === 'grpc_inference';
    return kind === 'http' && request.port === 'inference';
  },
  read: asData,
  differenceAt: lookup([...DIFFERENCES, ...JAVASCRIPT_DIFFERENCES]),
};

/** The runs of a file that are compared so, each up to the last record that is. */
export function twinRunsOf(file: RecordFile): Map<string, Recorded[]> {
  const runs = [...runsOf(file)].map(([run, records]) => {
    const last = records.findLastIndex((record) => AS_DATA.isCompared(record));
    return [run, records.slice(0, last + 1)] as const;
  });
  return new Map(runs.filter(([, records]) => records.length > 0));
}
