import { isDeepStrictEqual, parseArgs } from 'node:util';
import { pythonVenv } from '../support/python-venv.js';
import { ARCHIVER_RECORDS, replayArchiving } from './archiver-replay.js';
import { inThisProcess, withCommand, type Launcher } from './launch.js';
import {
  RECORD_FILES,
  differenceAt,
  grouped,
  idOf,
  replayRun,
  runsOf,
  type Outcome,
  type Verdict,
} from './replay.js';

/** How the table calls what became of a record. */
const COLUMNS: Readonly<Record<Verdict, string>> = {
  same: 'same',
  'on purpose': 'differs on purpose',
  'not yet': 'not there yet',
  wrong: 'wrong',
};

/**
 * `npm run parity [-- --launch COMMAND]`: sends the recorded requests to a server that each recorded run starts anew, this version unless a
 * command is given, with the archives of the recording; prints per file of records where the answers differ from TorchServe's. Ends
 * with 1 when one differs that is not listed, or when a listed one of this version's differs no longer.
 */
async function main(): Promise<number> {
  const { launch } = parseArgs({ options: { launch: { type: 'string' } } }).values;
  const launcher = launch === undefined ? await ownLauncher() : withCommand(launch);
  if (launcher === undefined) return 0;
  const all: Outcome[] = [];
  for (const recordFile of RECORD_FILES) {
    const table: Record<string, Record<string, number | string>> = {};
    const ofFile: Outcome[] = [];
    for (const [run, records] of runsOf(recordFile)) {
      const outcomes = await replayRun(records, launcher);
      table[run] = countsOf(outcomes);
      ofFile.push(...outcomes);
    }
    table['all'] = countsOf(ofFile);
    console.log(`\n${recordFile.file}`);
    console.table(table);
    if (recordFile.leftOut !== undefined) console.log(`Some runs are left out: ${recordFile.leftOut}.`);
    all.push(...ofFile);
  }
  const archivings = launch === undefined ? await archiverVerdicts() : [];
  if (archivings.length > 0) {
    console.log(
      '\narchiver.jsonl, by marline archive; of its help only the names of the options are compared.',
    );
    console.table({ all: countsOf(archivings) });
  }
  tell('On purpose', all, 'on purpose');
  tell('Not there yet', all, 'not yet');
  const wrong = all.filter(({ verdict }) => verdict === 'wrong');
  for (const { record, ours, theirs } of wrong)
    console.log(`Wrong: ${idOf(record)}\n  answered: ${shown(ours)}\n  recorded: ${shown(theirs)}`);
  for (const { name } of archivings.filter(({ verdict }) => verdict === 'wrong'))
    console.log(`Wrong: archiver.jsonl, ${name}`);
  console.log(`\nOf what was asked of servers: ${summaryOf(all)}`);
  // Another server need not differ where this one does.
  const outdated = launch === undefined ? all.filter(isOutdated) : [];
  for (const { record } of outdated) console.log(`Listed, but answered as by TorchServe: ${idOf(record)}`);
  const isWrong = [...all, ...archivings].some(({ verdict }) => verdict === 'wrong');
  return isWrong || outdated.length > 0 ? 1 : 0;
}

async function ownLauncher(): Promise<Launcher | undefined> {
  const { python, missing } = await pythonVenv();
  if (python !== undefined) return inThisProcess(python);
  console.log(`Parity was not checked: ${missing}.`);
  return undefined;
}

/** What became of one record, whatever it records. */
interface Judged {
  readonly verdict: Verdict;
}

/** The help of an archiver is in words of its own. */
const OWN_WORDS = 'help';

async function archiverVerdicts(): Promise<(Judged & { readonly name: string })[]> {
  const judged: (Judged & { readonly name: string })[] = [];
  for (const record of ARCHIVER_RECORDS) {
    const { ours, theirs } = await replayArchiving(record);
    const same = isDeepStrictEqual(ours, theirs) && record.name !== OWN_WORDS;
    judged.push({
      name: record.name,
      verdict: same ? 'same' : record.name === OWN_WORDS ? 'on purpose' : 'wrong',
    });
  }
  return judged;
}

function countsOf(outcomes: readonly Judged[]): Record<string, number> {
  const count = (verdict: Verdict) => outcomes.filter((outcome) => outcome.verdict === verdict).length;
  return Object.fromEntries(
    Object.entries(COLUMNS).map(([verdict, column]) => [column, count(verdict as Verdict)]),
  );
}

function summaryOf(outcomes: readonly Judged[]): string {
  const counts = Object.entries(countsOf(outcomes)).map(([column, count]) => `${count} ${column}`);
  const onPurpose = outcomes.filter(({ verdict }) => verdict === 'on purpose').length;
  const compared = outcomes.filter(({ verdict }) => verdict !== 'not yet').length;
  return `${counts.join(', ')}: on purpose are ${((100 * onPurpose) / compared).toFixed(1)} % of ${compared}.`;
}

function isOutdated({ record, verdict }: Outcome): boolean {
  return verdict === 'same' && differenceAt(record) !== undefined;
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
