import type { ReceivedResponse } from '../support/http-exchange.js';
import { comparableMetrics } from './metrics-text.js';
import type { Recorded, RecordedHttp, RecordedResponse } from './records.js';

/** What two answers are compared by: the head as far as it is the same on every machine, and the body. */
export interface Comparable {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** Of a stream. */
  readonly chunks?: readonly string[];
}

/** Fields that no two servers share, and the length of a body that holds an id or a time. */
const OF_THE_MACHINE = ['date', 'keep-alive', 'content-length'];
/** Of a worker in describe. */
const OF_THE_WORKER = ['id', 'pid', 'memoryUsage', 'startTime'];
/** The text of a `cause` is an addition of ours to errors of workers. */
const CAUSE = /,\n {2}"cause": "([^"\\]|\\.)*"(?=\n\}\n$)/;

/** What is compared of an answer of ours. */
export function received(answer: ReceivedResponse, record: RecordedHttp): Comparable {
  return comparable(answer, answer.body.replace(CAUSE, ''), answer.chunks, record);
}

/** What is compared of the recorded answer; `undefined` where TorchServe never gave one. */
export function expected(record: RecordedHttp): Comparable | undefined {
  const { response } = record;
  return response.noResponse === true
    ? undefined
    : comparable(response, bodyOf(response), response.chunks, record);
}

function comparable(
  { status, headers }: Pick<RecordedResponse, 'status' | 'headers'>,
  body: string,
  chunks: readonly string[] | undefined,
  record: Recorded,
): Comparable {
  const compared = headers
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !OF_THE_MACHINE.includes(name))
    .map(([name, value]) => [name, name === 'x-request-id' ? 'some id' : value] as const);
  return {
    status,
    headers: Object.fromEntries(compared),
    body: withoutVolatile(body, record),
    ...(chunks && { chunks }),
  };
}

function bodyOf({ body, bodyBase64, bodyRepeat }: RecordedResponse): string {
  if (bodyBase64 !== undefined) return Buffer.from(bodyBase64, 'base64').toString();
  return bodyRepeat === undefined ? body : bodyRepeat[0].repeat(bodyRepeat[1]);
}

/** A body without what no two servers share. */
export function withoutVolatile(body: string, { volatile = [] }: Pick<Recorded, 'volatile'>): unknown {
  if (body.startsWith('# HELP ')) return comparableMetrics(body);
  if (body.startsWith('{\n  "openapi": ')) return withoutDescriptions(body);
  if (body.includes('"workers": ['))
    return withoutWorkers(
      body,
      volatile.some((path) => /workers(\[\*\]\.status)?$|^worker status/.test(path)),
    );
  // TorchServe's front end gives headers in the order of a hash table, and Python writes NaN, which JSON.parse does not read.
  if (/"(url_path|explain|Host)": /.test(body))
    return body
      .split('\n')
      .map((line) => line.replace(/,$/, ''))
      .toSorted();
  if (volatile.some((path) => path.endsWith('(arrival order)')))
    return body.replace(/"index": \d+/, '"index": any');
  return body;
}

function withoutWorkers(body: string, alsoTheirStatus: boolean): unknown {
  const left = new Set(alsoTheirStatus ? [...OF_THE_WORKER, 'status'] : OF_THE_WORKER);
  return JSON.parse(body, (key, value: unknown) => (left.has(key) ? 'any' : value));
}

/** The texts of our documents are our own; their structure is TorchServe's. */
function withoutDescriptions(document: string): unknown {
  return JSON.parse(document, (key, value: unknown) =>
    key === 'description' && typeof value === 'string' ? 'any' : value,
  );
}
