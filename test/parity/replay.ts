import { isDeepStrictEqual } from 'node:util';
import type { ReceivedResponse } from '../support/http-exchange.js';
import { expected, received, withoutVolatile, type Comparable, type Reading } from './comparison.js';
import { DIFFERENCES, type Difference } from './differences.js';
import type { GrpcAnswer } from '../support/grpc-client.js';
import { expectedCall, receivedCall, type ComparableCall } from './grpc-comparison.js';
import type { Launcher } from './launch.js';
import { startRecorded, type Answer } from './recorded-server.js';
import { readRecords, type Recorded } from './records.js';

/** A file of records, and which of its runs are replayed: those that a handler takes part in. */
export interface RecordFile {
  readonly file: string;
  readonly runs?: readonly string[];
  /** Why the other runs are left out. */
  readonly leftOut?: string;
}

export const RECORD_FILES: readonly RecordFile[] = [
  { file: 'inference.jsonl' },
  {
    file: 'errors.jsonl',
    runs: ['errors-small', 'errors-queue', 'errors-raw', 'errors-direct', 'errors-cors', 'errors-single'],
    leftOut: 'the memory of a JVM that is too small, and servers that do not start',
  },
  { file: 'management.jsonl' },
  { file: 'grpc.jsonl' },
  { file: 'metrics.jsonl' },
  { file: 'kserve.jsonl' },
  { file: 'auth.jsonl' },
];

/** How an answer stands to the recorded one. */
export type Verdict = 'same' | 'on purpose' | 'not yet' | 'wrong';

/** One record, replayed. */
export interface Outcome {
  readonly record: Recorded;
  readonly verdict: Verdict;
  /** Why it differs, where that is listed. */
  readonly reason?: string;
  /** True for what is listed, but differs no longer. */
  readonly isOutdated: boolean;
  readonly ours: Comparable | ComparableCall | undefined;
  readonly theirs: Comparable | ComparableCall | undefined;
}

export const idOf = ({ run, name }: Recorded) => `${run}/${name}`;

/** The records of a file by run, in their order. */
export function runsOf({ file, runs }: RecordFile): Map<string, Recorded[]> {
  const all = readRecords(file).filter(({ kind }) => kind !== 'observation');
  return grouped(
    all.filter(({ run }) => runs?.includes(run) !== false),
    ({ run }) => run,
  );
}

/** The items of each group, in their order. */
export function grouped<T, K>(items: readonly T[], groupOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(groupOf(item), [...(groups.get(groupOf(item)) ?? []), item]);
  return groups;
}

/** Which answers are compared with the recorded ones, and how. */
export interface Comparison {
  readonly isCompared: (record: Recorded) => boolean;
  readonly read: Reading;
  /** What is listed about a record. */
  readonly differenceAt: (record: Recorded) => Difference | undefined;
}

/** All that has an answer, letter by letter. */
export const AS_RECORDED: Comparison = {
  isCompared: ({ kind }) => kind === 'http' || kind === 'grpc',
  read: withoutVolatile,
  differenceAt: lookup(DIFFERENCES),
};

/** Finds what is listed about a record. */
export function lookup(differences: readonly Difference[]): Comparison['differenceAt'] {
  const listed = new Map(
    differences.flatMap((difference) => difference.records.map((id) => [id, difference])),
  );
  return (record) => listed.get(idOf(record));
}

/** Sends the requests of a run to a fresh server, in their order, because every answer depends on what was asked before. */
export async function replayRun(
  run: readonly Recorded[],
  launcher: Launcher,
  comparison = AS_RECORDED,
): Promise<Outcome[]> {
  const server = await startRecorded(run[0]?.config ?? '', launcher);
  try {
    const answers = await server.replayAll(run);
    return run
      .filter((record) => comparison.isCompared(record))
      .map((record) => outcomeOf(record, comparison, answers.get(record)));
  } finally {
    await server.close();
  }
}

function outcomeOf(
  record: Recorded,
  { read, differenceAt }: Comparison,
  answer: Answer | undefined,
): Outcome {
  const theirs = record.kind === 'grpc' ? expectedCall(record, read) : expected(record, read);
  const ours = comparableAnswer(record, read, answer);
  const difference = differenceAt(record);
  const isSame = isDeepStrictEqual(ours, theirs);
  const outcome = { record, ours, theirs, isOutdated: isSame && difference !== undefined };
  if (isSame) return { ...outcome, verdict: 'same' };
  if (difference === undefined) return { ...outcome, verdict: 'wrong' };
  const verdict = difference.notYet === true ? 'not yet' : 'on purpose';
  return { ...outcome, verdict, reason: difference.reason };
}

function comparableAnswer(record: Recorded, read: Reading, answer: Answer | undefined): Outcome['ours'] {
  if (answer === undefined) return undefined;
  if (record.kind === 'grpc') return receivedCall(answer as GrpcAnswer, record, read);
  const response = answer as ReceivedResponse;
  return response.headers.length === 0 ? undefined : received(response, record, read);
}
