import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packArchive } from '#libs/archive';
import { beforeAll, describe, expect, it } from 'vitest';
import { expected, received, type Comparable } from './comparison.js';
import { DIFFERENCES } from './differences.js';
import { inThisProcess, type Launcher } from './launch.js';
import { startRecorded, type Answer } from './recorded-server.js';
import { readRecords, type Recorded, type RecordedHttp } from './records.js';
import { idOf } from './replay.js';
import type { ReceivedResponse } from '../support/http-exchange.js';

const RUN_LIMIT_MS = 300_000;
interface Twin {
  readonly modelName: string;
  readonly version: string;
  readonly handler: string;
  /** Its model-config.yaml. */
  readonly config?: object;
}

/** The recorded archives whose handler there is in JavaScript, by file. */
const TWINS: Readonly<Record<string, Twin>> = {
  'echo.mar': { modelName: 'echo', version: '1.0', handler: 'echo' },
  'echo_v2.mar': { modelName: 'echo', version: '2.0', handler: 'echo' },
  'misc.mar': { modelName: 'misc', version: '1.0', handler: 'misc' },
  'stream.mar': { modelName: 'stream', version: '1.0', handler: 'stream' },
  'describe.mar': { modelName: 'describe', version: '1.0', handler: 'describe' },
  'batcher.mar': {
    modelName: 'batcher',
    version: '1.0',
    handler: 'batcher',
    config: { minWorkers: 1, maxWorkers: 1, batchSize: 4, maxBatchDelay: 1000, responseTimeout: 20 },
  },
};
const RUNS = [
  ['kserve.jsonl', 'kserve-v1'],
  ['kserve.jsonl', 'kserve-v2'],
  ['kserve.jsonl', 'envelope-json'],
  ['kserve.jsonl', 'envelope-body'],
  ['kserve.jsonl', 'kserve-oip'],
  ['kserve.jsonl', 'envelope-bad'],
  ['inference.jsonl', 'inference-main'],
  ['inference.jsonl', 'inference-noworker'],
  ['inference.jsonl', 'inference-batch'],
  ['errors.jsonl', 'errors-small'],
  ['errors.jsonl', 'errors-cors'],
  ['errors.jsonl', 'errors-single'],
] as const;

const of = (run: string, ...names: string[]) => names.map((name) => `${run}/${name}`);
/** Where a handler in JavaScript is answered otherwise than the same in Python, on purpose. */
const OWN: readonly { readonly reason: string; readonly records: readonly string[] }[] = [
  {
    reason: 'What does not fit its envelope is the fault of the caller: 400 with what the envelope takes.',
    records: [
      ...of('kserve-v1', 'v1-no-instances', 'v1-empty-instances', 'v1-bad-json', 'v1-empty', 'v1-get'),
      ...of('envelope-json', 'json-no-instances', 'text', 'octets', 'form', 'empty'),
      ...of('kserve-v2', 'v2-no-inputs', 'v2-empty'),
    ],
  },
  {
    reason: "BYTES in JSON are texts, as the protocol writes them; TorchServe's envelope cannot read any.",
    records: of('kserve-v2', 'v2-infer-bytes'),
  },
  {
    reason: 'NaN is no JSON: it is not read, and is null in an answer.',
    records: of('inference-main', 'echo-json-nan', 'misc-nan'),
  },
  {
    reason: 'Describe names the runtime of the archive.',
    records: of('errors-single', 'single-get-models_echo'),
  },
  {
    reason: 'max_response_size is for Python workers; the answer of a thread is in memory already.',
    records: of('errors-small', 'response-over-limit'),
  },
  {
    reason: 'Without a worker that can start there is an answer; TorchServe gives none.',
    records: of('envelope-bad', 'predict'),
  },
  {
    reason: 'An exception is no success, whatever status it names.',
    records: of('inference-main', 'misc-pexc-200'),
  },
];
const differs = new Set([...DIFFERENCES, ...OWN].flatMap(({ records }) => records));

/** Steps that only the twins take part in. */
function isForTwins({ kind, request }: Recorded): boolean {
  if (kind === 'sleep') return true;
  const path = (request as RecordedHttp['request'] | undefined)?.path ?? '';
  return (kind === 'http' || kind === 'wait') && /[/=](echo|misc|stream|describe|batcher)\b/.test(path);
}

async function stock(store: string): Promise<void> {
  for (const [file, { modelName, version, handler, config }] of Object.entries(TWINS)) {
    const exportPath = mkdtempSync(join(tmpdir(), 'marline-twin-'));
    const configFile = config && join(exportPath, 'model-config.yaml');
    if (configFile !== undefined) writeFileSync(configFile, JSON.stringify(config));
    const twin = fileURLToPath(new URL(`../python/twins/${handler}_handler.mjs`, import.meta.url));
    const path = await packArchive({
      modelName,
      version,
      handler: twin,
      runtime: 'node',
      exportPath,
      ...(configFile && { configFile }),
    });
    cpSync(path, join(store, file));
    rmSync(exportPath, { recursive: true });
  }
}

/** A server of this process, without Python. */
const marline = inThisProcess();
const withTwins: Launcher = {
  ports: (config) => marline.ports(config),
  async start(folder) {
    await stock(folder.modelStore);
    return marline.start(folder);
  },
};

/** Data instead of text: Python writes 1.0 for 1, and sees the content types of parameters and two kinds of bytes. */
function inCommon(comparable: Comparable | undefined, body: string, record: RecordedHttp): unknown {
  const anyOrder = record.volatile?.some((path) => path.endsWith('(arrival order)')) === true;
  if (body.startsWith('{\n  "openapi": ')) return comparable;
  try {
    const parsed: unknown = JSON.parse(body, (key, value: unknown) => {
      if (key === 'type' && value === 'bytes') return 'bytearray';
      if (key === 'index' && anyOrder) return 'any';
      if (key !== 'headers') return value;
      return Object.fromEntries(
        Object.entries(value as object).filter(([, each]) => typeof each === 'string'),
      );
    });
    return { ...comparable, chunks: undefined, body: parsed };
  } catch {
    return comparable;
  }
}

describe.each(RUNS)('%s: %s with handlers in JavaScript', (file, run) => {
  const records = readRecords(file).filter((record) => record.run === run && isForTwins(record));
  const compared = (records as RecordedHttp[]).filter(
    ({ kind, request }) => kind === 'http' && request.port === 'inference',
  );
  let answers: Map<Recorded, Answer>;

  beforeAll(async () => {
    const server = await startRecorded(records[0]?.config ?? '', withTwins);
    try {
      answers = await server.replayAll(records);
    } finally {
      await server.close();
    }
  }, RUN_LIMIT_MS);

  function bothOf(record: RecordedHttp) {
    const answer = answers.get(record) as ReceivedResponse;
    const ours = inCommon(received(answer, record), answer.body, record);
    return { ours, theirs: inCommon(expected(record), record.response.body ?? '', record) };
  }

  it.each(compared.filter((record) => !differs.has(idOf(record))))(
    'answers $name as TorchServe',
    (record) => {
      const { ours, theirs } = bothOf(record);
      expect(ours).toEqual(theirs);
    },
  );

  it.each(compared.filter((record) => differs.has(idOf(record))))(
    'still differs at $name as listed',
    (record) => {
      const { ours, theirs } = bothOf(record);
      expect(ours).not.toEqual(theirs);
    },
  );
});
