import { isDeepStrictEqual, parseArgs } from 'node:util';
import { pythonVenv } from '../support/python-venv.js';
import { ARCHIVER_RECORDS, replayArchiving } from './archiver-replay.js';
import { AS_DATA } from './javascript-differences.js';
import { withTwins } from './javascript-twins.js';
import { inThisProcess, withCommand, type Launcher } from './launch.js';
import {
  AS_RECORDED,
  RECORD_FILES,
  idOf,
  replayRun,
  runsOf,
  type Comparison,
  type Outcome,
} from './replay.js';
import type { Recorded } from './records.js';
import { printReasons, printTable, printWrong, summaryOf, type Judged } from './report.js';

/**
 * `npm run parity [-- --launch COMMAND]`: sends the recorded requests to a server that each recorded run starts anew, this version unless a
 * command is given, with the archives of the recording; prints per file of records where the answers differ from TorchServe's, and the
 * same of this version with twins of the recorded handlers in JavaScript. Ends with 1 when one differs that is not listed, or when a
 * listed one of this version's differs no longer.
 */
async function main(): Promise<number> {
  const { launch } = parseArgs({ options: { launch: { type: 'string' } } }).values;
  if (launch !== undefined) {
    // Another server need not differ where this one does.
    const answers = await replayRecordings(withCommand(launch));
    return answers.some(isWrong) ? 1 : 0;
  }
  const { python, missing } = await pythonVenv();
  if (missing !== undefined) console.log(`Recorded handlers were not asked: ${missing}.`);
  const answers = python === undefined ? [] : await replayRecordings(inThisProcess(python));
  const archivings = await replayArchiver();
  const twins = await replayTwins();
  const outdated = [...answers, ...twins].filter(({ isOutdated }) => isOutdated);
  for (const { record } of outdated) console.log(`Listed, but answered as by TorchServe: ${idOf(record)}`);
  return outdated.length > 0 || [...answers, ...archivings, ...twins].some(isWrong) ? 1 : 0;
}

async function replayRecordings(launcher: Launcher): Promise<Outcome[]> {
  const all: Outcome[] = [];
  for (const recordFile of RECORD_FILES) {
    const byRun = await replayRuns(runsOf(recordFile), launcher, AS_RECORDED);
    console.log(`\n${recordFile.file}`);
    printTable(byRun);
    if (recordFile.leftOut !== undefined) console.log(`Some runs are left out: ${recordFile.leftOut}.`);
    all.push(...[...byRun.values()].flat());
  }
  printReasons('On purpose', all, 'on purpose');
  printReasons('Not there yet', all, 'not yet');
  printWrong(all);
  console.log(`\nOf what was asked of servers: ${summaryOf(all)}`);
  return all;
}

async function replayTwins(): Promise<Outcome[]> {
  const byFile = new Map<string, Outcome[]>();
  const twins = withTwins();
  for (const recordFile of RECORD_FILES) {
    const byRun = await replayRuns(runsOf(recordFile), twins, AS_DATA);
    byFile.set(recordFile.file, [...byRun.values()].flat());
  }
  await twins.remove();
  const all = [...byFile.values()].flat();
  const own = all.filter(({ record }) => AS_RECORDED.differenceAt(record) === undefined);
  console.log('\nThe same with JavaScript twins of the recorded handlers; JSON is compared as data.');
  printTable(byFile);
  printReasons('On purpose, and not for the recorded handlers', own, 'on purpose');
  printWrong(all);
  console.log(`\nOf what was asked of the twins: ${summaryOf(all)}`);
  return all;
}

async function replayRuns(
  runs: ReadonlyMap<string, readonly Recorded[]>,
  launcher: Launcher,
  comparison: Comparison,
): Promise<Map<string, Outcome[]>> {
  const replayed = new Map<string, Outcome[]>();
  for (const [run, records] of runs) replayed.set(run, await replayRun(records, launcher, comparison));
  return replayed;
}

/** The help of an archiver is in words of its own. */
const OWN_WORDS = 'help';

async function replayArchiver(): Promise<Judged[]> {
  const judged: Judged[] = [];
  for (const record of ARCHIVER_RECORDS) {
    const { ours, theirs } = await replayArchiving(record);
    const isSame = isDeepStrictEqual(ours, theirs) && record.name !== OWN_WORDS;
    const verdict = isSame ? 'same' : record.name === OWN_WORDS ? 'on purpose' : 'wrong';
    if (verdict === 'wrong') console.log(`Wrong: archiver.jsonl, ${record.name}`);
    judged.push({ verdict });
  }
  console.log(
    '\narchiver.jsonl, by marline archive; of its help only the names of the options are compared.',
  );
  printTable(new Map([['archiver.jsonl', judged]]));
  return judged;
}

function isWrong({ verdict }: Judged): boolean {
  return verdict === 'wrong';
}

process.exitCode = await main();
