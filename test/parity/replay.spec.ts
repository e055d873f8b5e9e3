import { beforeAll, describe, expect, it } from 'vitest';
import { pythonVenv } from '../support/python-venv.js';
import { inThisProcess } from './launch.js';
import { readRecords, type Recorded, type RecordedGrpc, type RecordedHttp } from './records.js';
import { replayRun, type Verdict } from './replay.js';

const RUN_LIMIT_MS = 120_000;
const { python } = await pythonVenv();

/** One record, and what must be replayed before it. */
interface Case<Kind extends Recorded> {
  readonly before: Recorded;
  readonly record: Kind;
  /** Other answers than TorchServe's. */
  readonly altered: Readonly<Record<string, Partial<Kind['response']>>>;
}

describe.skipIf(python === undefined).each([
  ['over HTTP', http()],
  ['over gRPC', grpc()],
])('an answer %s', (_name, { before, record, altered }: Case<RecordedHttp> | Case<RecordedGrpc>) => {
  const names = Object.keys(altered);
  let verdicts: ReadonlyMap<string, Verdict>;

  beforeAll(async () => {
    const corrupted = Object.entries(altered).map(([name, response]) => ({
      ...record,
      name,
      response: { ...record.response, ...response },
    }));
    const outcomes = await replayRun([before, record, ...corrupted], inThisProcess(python ?? ''));
    verdicts = new Map(outcomes.map((outcome) => [outcome.record.name, outcome.verdict]));
  }, RUN_LIMIT_MS);

  it('is the same as the recorded one', () => {
    expect(verdicts.get(record.name)).toBe('same');
  });

  it.each(names)('is wrong once the recorded one has %s', (name) => {
    expect(verdicts.get(name)).toBe('wrong');
  });
});

function http(): Case<RecordedHttp> {
  const record = recordOf('inference.jsonl', 'stream-words') as RecordedHttp;
  const { headers, body, chunks = [] } = record.response;
  return {
    before: recordOf('inference.jsonl', 'ready-stream-2'),
    record,
    altered: {
      'another status': { status: 201 },
      'another value of a header': {
        headers: headers.map(([name, value]) => [name, name === 'Pragma' ? 'cache' : value] as const),
      },
      'one header less': { headers: headers.slice(1) },
      'another body': { body: `${body} ` },
      'other chunks': { chunks: [chunks.join('')] },
      'no answer at all': { noResponse: true },
    },
  };
}

function grpc(): Case<RecordedGrpc> {
  const record = recordOf('grpc.jsonl', 'after-stream-rpc-on-plain-handler') as RecordedGrpc;
  const { messages } = record.response;
  return {
    before: recordOf('grpc.jsonl', 'register-u2'),
    record,
    altered: {
      'another code': { codeNumber: 5 },
      'another message': { messages: [{ prediction: 'eA==' }] },
      'a message more': { messages: [...messages, ...messages] },
    },
  };
}

function recordOf(file: string, name: string): Recorded {
  const found = readRecords(file).find((record) => record.name === name);
  if (found === undefined) throw new Error(`${file} has no record ${name}.`);
  return found;
}
