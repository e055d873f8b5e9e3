import { beforeAll, describe, expect, it } from 'vitest';
import { pythonVenv } from '../support/python-venv.js';
import { DIFFERENCES } from './differences.js';
import { inThisProcess } from './launch.js';
import { RECORD_FILES, idOf, isCompared, replayRun, runsOf, type Outcome } from './replay.js';

const RUN_LIMIT_MS = 180_000;
const differs = new Set(DIFFERENCES.flatMap(({ records }) => records));

/** The tests of one file of records: every answer is TorchServe's, or differs as listed. */
export async function describeReplay(file: string): Promise<void> {
  const { python, missing } = await pythonVenv();
  if (missing !== undefined) console.warn(`${file} is not replayed: ${missing}.`);
  const recordFile = RECORD_FILES.find((candidate) => candidate.file === file);
  if (recordFile === undefined) throw new Error(`${file} is not among the files that are replayed.`);

  describe.skipIf(python === undefined).each([...runsOf(recordFile)])('%s', (_run, records) => {
    const compared = records.filter(isCompared);
    let outcomes: Map<string, Outcome>;

    beforeAll(async () => {
      const replayed = await replayRun(records, inThisProcess(python ?? ''));
      outcomes = new Map(replayed.map((outcome) => [idOf(outcome.record), outcome]));
    }, RUN_LIMIT_MS);

    it.each(compared.filter((record) => !differs.has(idOf(record))))(
      'answers $name as TorchServe',
      (record) => {
        const outcome = outcomes.get(idOf(record));
        expect(outcome?.ours).toEqual(outcome?.theirs);
      },
    );

    it.each(compared.filter((record) => differs.has(idOf(record))))(
      'still differs at $name as listed',
      (record) => {
        const outcome = outcomes.get(idOf(record));
        expect(outcome?.ours).not.toEqual(outcome?.theirs);
      },
    );
  });
}
