import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HttpResponse } from '../support/http-exchange.js';
import { comparable, pythonNeed } from './comparison.js';
import { DIFFERENCES } from './differences.js';
import { readRecords, startRecorded, type Recorded, type RecordedServer } from './recorded-server.js';

const records = readRecords('management.jsonl').filter(({ kind }) => kind === 'http');
const runs = [...new Set(records.map(({ run }) => run))];
const idOf = ({ run, name }: Recorded) => `${run}/${name}`;
const reasons = new Map(DIFFERENCES.flatMap(({ reason, records: ids }) => ids.map((id) => [id, reason])));

// The order within a run matters: every answer depends on what was asked before.
describe.each(runs)('%s', (run) => {
  const own = records.filter((record) => record.run === run);
  const compared = own.filter((record) => pythonNeed(record) === undefined);
  const answers = new Map<string, HttpResponse>();
  const answerTo = (record: Recorded) => answers.get(idOf(record)) as HttpResponse;
  let server: RecordedServer | undefined;

  beforeAll(async () => {
    server = await startRecorded(own[0]?.config ?? '');
    for (const record of own) {
      if (pythonNeed(record) !== 'answer') answers.set(idOf(record), await server.replay(record));
    }
  });
  afterAll(() => server?.close());

  it.each(compared.filter((record) => !reasons.has(idOf(record))))(
    'answers $name as TorchServe',
    (record) => {
      const { response } = record;
      expect(comparable(answerTo(record), response)).toEqual(comparable(response, response));
    },
  );

  it.each(compared.filter((record) => reasons.has(idOf(record))))(
    'still differs at $name as listed',
    (record) => {
      const { response } = record;
      expect(comparable(answerTo(record), response)).not.toEqual(comparable(response, response));
    },
  );

  it.each(own.filter((record) => pythonNeed(record) === 'start' && !reasons.has(idOf(record))))(
    'says at $name why a Python handler does not start',
    (record) => {
      const { status, body } = answerTo(record);
      expect(status).toBe(500);
      expect(JSON.parse(body)).toMatchObject({
        type: 'InternalServerException',
        message: expect.stringMatching(/^Failed to start workers for model .+ version: \d/) as string,
        cause: expect.stringMatching(/^The handler ".+" \(runtime python\) cannot be served/) as string,
      });
    },
  );
});

describe('the table of differences', () => {
  it('names every record once, and only records that are compared', () => {
    const listed = DIFFERENCES.flatMap(({ records: ids }) => ids);
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed.filter((id) => !records.some((record) => idOf(record) === id))).toEqual([]);
  });
});

describe('the replay', () => {
  it('has unique names within a run', () => {
    expect(new Set(records.map(idOf)).size).toBe(records.length);
  });
});
