import { afterAll, describe } from 'vitest';
import { AS_DATA } from './javascript-differences.js';
import { withTwins } from './javascript-twins.js';
import type { Recorded } from './records.js';
import { testRun } from './replay-suite.js';
import { RECORD_FILES, runsOf } from './replay.js';

type Run = readonly [name: string, records: readonly Recorded[]];

const runs: Run[] = RECORD_FILES.flatMap((file) => [...runsOf(file)]);
const isTimed = ([, records]: Run) => records.some(({ parallel }) => parallel !== undefined);
const twins = withTwins();
afterAll(() => twins.remove());
const test = (_name: string, records: readonly Recorded[]) => testRun(records, twins, AS_DATA);

// Most of a replay is waiting; only where the moment of a request counts must nothing else run.
describe.each(runs.filter((run) => !isTimed(run)))(
  '%s, with handlers in JavaScript',
  { concurrent: true },
  test,
);
describe.each(runs.filter(isTimed))('%s, with handlers in JavaScript', test);
