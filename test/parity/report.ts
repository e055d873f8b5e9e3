import { grouped, idOf, type Outcome, type Verdict } from './replay.js';

/** How the tables call what became of a record. */
const COLUMNS: Readonly<Record<Verdict, string>> = {
  same: 'same',
  'on purpose': 'differs on purpose',
  'not yet': 'not there yet',
  wrong: 'wrong',
};

/** What became of one record, whatever it records. */
export interface Judged {
  readonly verdict: Verdict;
}

/** Prints a row for each name, and one for all of them. */
export function printTable(rows: ReadonlyMap<string, readonly Judged[]>): void {
  const table = [...rows, ['all', [...rows.values()].flat()] as const];
  console.table(Object.fromEntries(table.map(([name, judged]) => [name, countsOf(judged)])));
}

/** How many are what, and the share of what differs on purpose. */
export function summaryOf(judged: readonly Judged[]): string {
  const counts = Object.entries(countsOf(judged)).map(([column, count]) => `${count} ${column}`);
  const onPurpose = judged.filter(({ verdict }) => verdict === 'on purpose').length;
  const compared = judged.filter(({ verdict }) => verdict !== 'not yet').length;
  return `${counts.join(', ')}: on purpose are ${((100 * onPurpose) / compared).toFixed(1)} % of ${compared}.`;
}

/** Prints why records of a verdict differ, and which. */
export function printReasons(title: string, outcomes: readonly Outcome[], verdict: Verdict): void {
  const reasons = grouped(
    outcomes.filter((outcome) => outcome.verdict === verdict),
    ({ reason }) => reason,
  );
  console.log(`\n${title}:`);
  for (const [reason, of] of reasons)
    console.log(`- ${reason}\n    ${of.map(({ record }) => idOf(record)).join(', ')}`);
}

/** Prints each wrong answer beside the recorded one. */
export function printWrong(outcomes: readonly Outcome[]): void {
  for (const { record, ours, theirs } of outcomes.filter(({ verdict }) => verdict === 'wrong'))
    console.log(`Wrong: ${idOf(record)}\n  answered: ${shown(ours)}\n  recorded: ${shown(theirs)}`);
}

function countsOf(judged: readonly Judged[]): Record<string, number> {
  const count = (verdict: Verdict) => judged.filter((each) => each.verdict === verdict).length;
  return Object.fromEntries(
    Object.entries(COLUMNS).map(([verdict, column]) => [column, count(verdict as Verdict)]),
  );
}

function shown(answer: unknown): string {
  return (JSON.stringify(answer) ?? 'no answer').slice(0, 1500);
}
