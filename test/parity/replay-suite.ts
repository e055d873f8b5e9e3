import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { preloadedPython } from '../support/preloaded-python.js';
import { pythonVenv } from '../support/python-venv.js';
import { inThisProcess, type Launcher } from './launch.js';
import type { Recorded } from './records.js';
import {
  AS_RECORDED,
  RECORD_FILES,
  idOf,
  replayRun,
  runsOf,
  type Comparison,
  type Outcome,
} from './replay.js';

const RUN_LIMIT_MS = 180_000;

/** The tests of one file of records. */
export async function describeReplay(file: string): Promise<void> {
  const { python, missing } = await pythonVenv();
  if (missing !== undefined) console.warn(`${file} is not replayed: ${missing}.`);
  const recordFile = RECORD_FILES.find((candidate) => candidate.file === file);
  if (recordFile === undefined) throw new Error(`${file} is not among the files that are replayed.`);
  // Most of the start of a worker is PyTorch.
  const preloaded = python === undefined ? undefined : await preloadedPython(python, ['torch']);
  afterAll(() => preloaded?.close());
  describe.skipIf(python === undefined).each([...runsOf(recordFile)])('%s', (_run, records) =>
    testRun(records, inThisProcess(preloaded?.python), AS_RECORDED),
  );
}

/** The tests of one run: every answer is TorchServe's, or differs as listed. */
export function testRun(records: readonly Recorded[], launcher: Launcher, comparison: Comparison): void {
  const compared = records.filter((record) => comparison.isCompared(record));
  const isListed = (record: Recorded) => comparison.differenceAt(record) !== undefined;
  let outcomes: Map<string, Outcome>;

  beforeAll(async () => {
    const replayed = await replayRun(records, launcher, comparison);
    outcomes = new Map(replayed.map((outcome) => [idOf(outcome.record), outcome]));
  }, RUN_LIMIT_MS);

  it.each(compared.filter((record) => !isListed(record)))('answers $name as TorchServe', (record) => {
    const outcome = outcomes.get(idOf(record));
    expect(outcome?.ours).toEqual(outcome?.theirs);
  });

  it.each(compared.filter(isListed))('still differs at $name as listed', (record) => {
    const outcome = outcomes.get(idOf(record));
    expect(outcome?.ours).not.toEqual(outcome?.theirs);
  });
}
