import { pythonVenv } from '../support/python-venv.js';
import { RECORD_FILES, grouped, idOf, replayRun, runsOf, type Outcome, type Verdict } from './replay.js';

/**
 * `npm run parity`: sends the recorded requests to this version with the archives and the Python package of TorchServe, and
 * prints where the answers differ from TorchServe's. Ends with 1 when one differs that is not listed.
 */
async function main(): Promise<number> {
  const { python, missing } = await pythonVenv();
  if (python === undefined) {
    console.log(`Parity was not checked: ${missing}.`);
    return 0;
  }
  const table: Record<string, Record<string, number>> = {};
  const differing: Outcome[] = [];
  for (const recordFile of RECORD_FILES) {
    for (const [run, records] of runsOf(recordFile)) {
      const outcomes = await replayRun(records, python);
      const count = (verdict: Verdict) => outcomes.filter((outcome) => outcome.verdict === verdict).length;
      table[run] = {
        same: count('same'),
        'differs on purpose': count('on purpose'),
        'not there yet': count('not yet'),
        wrong: count('wrong'),
      };
      differing.push(...outcomes.filter(({ verdict }) => verdict !== 'same'));
    }
  }
  console.table(table);
  for (const { file, leftOut } of RECORD_FILES)
    if (leftOut !== undefined) console.log(`Of ${file} some runs are left out: ${leftOut}.`);
  tell('On purpose', differing, 'on purpose');
  tell('Not there yet', differing, 'not yet');
  const wrong = differing.filter(({ verdict }) => verdict === 'wrong');
  for (const { record, ours, theirs } of wrong)
    console.log(`Wrong: ${idOf(record)}\n  ours:        ${shown(ours)}\n  TorchServe's: ${shown(theirs)}`);
  console.log(
    wrong.length === 0 ? 'Nothing differs that is not listed.' : `${wrong.length} answers are wrong.`,
  );
  return wrong.length === 0 ? 0 : 1;
}

function tell(title: string, outcomes: readonly Outcome[], verdict: Verdict): void {
  const reasons = grouped(
    outcomes.filter((outcome) => outcome.verdict === verdict),
    ({ reason }) => reason,
  );
  console.log(`\n${title}:`);
  for (const [reason, of] of reasons)
    console.log(`- ${reason}\n    ${of.map(({ record }) => idOf(record)).join(', ')}`);
}

function shown(answer: unknown): string {
  return (JSON.stringify(answer) ?? 'no answer').slice(0, 1500);
}

process.exitCode = await main();
