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
const FLOAT32_DIGITS = 6;
/** The text of a `cause` is an addition of ours to errors of workers. */
const CAUSE = /,\n {2}"cause": "([^"\\]|\\.)*"(?=\n\}\n$)/;

/** The language of a handler, in describe. */
const RUNTIME = /"runtime": "(?:node|python)"/g;

/** What is compared of a text that was answered. */
export type Reading = (text: string, record: Pick<Recorded, 'volatile'>) => unknown;

/** What is compared of an answer of ours. */
export function received(answer: ReceivedResponse, record: RecordedHttp, read: Reading): Comparable {
  return comparable(answer, read(answer.body.replace(CAUSE, ''), record), answer.chunks);
}

/** What is compared of the recorded answer; `undefined` where TorchServe never gave one. */
export function expected(record: RecordedHttp, read: Reading): Comparable | undefined {
  const { response } = record;
  return response.noResponse === true
    ? undefined
    : comparable(response, read(bodyOf(response), record), response.chunks);
}

function comparable(
  { status, headers }: Pick<RecordedResponse, 'status' | 'headers'>,
  body: unknown,
  chunks: readonly string[] | undefined,
): Comparable {
  const compared = headers
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !OF_THE_MACHINE.includes(name))
    .map(([name, value]) => [name, name === 'x-request-id' ? 'some id' : value] as const);
  return {
    status,
    headers: Object.fromEntries(compared),
    body,
    ...(chunks && { chunks }),
  };
}

function bodyOf({ body, bodyBase64, bodyRepeat }: RecordedResponse): string {
  if (bodyBase64 !== undefined) return Buffer.from(bodyBase64, 'base64').toString();
  return bodyRepeat === undefined ? body : bodyRepeat[0].repeat(bodyRepeat[1]);
}

/** A text without what no two servers share. */
export function withoutVolatile(text: string, record: Pick<Recorded, 'volatile'>): unknown {
  const document = documentIn(text, record);
  if (document !== undefined) return document;
  // TorchServe's front end gives headers in the order of a hash table, and Python writes NaN, which JSON.parse does not read.
  if (/"(url_path|explain|Host)": /.test(text))
    return text
      .split('\n')
      .map((line) => line.replace(/,$/, ''))
      .toSorted();
  if (comesInAnyOrder(record)) return text.replace(/"index": \d+/, '"index": any');
  return text;
}

/**
 * The same as data, where it is JSON: Python writes 1.0 for 1, sees the content types of parameters and two kinds of bytes, and has another
 * `exp`, which shows in the last digit of a float32.
 */
export function asData(answer: string, record: Pick<Recorded, 'volatile'>): unknown {
  const text = answer.replaceAll(RUNTIME, '"runtime": "any"');
  const document = documentIn(text, record);
  if (document !== undefined) return document;
  const anyOrder = comesInAnyOrder(record);
  try {
    return JSON.parse(text, (key, value: unknown) => {
      if (key === 'index' && anyOrder) return 'any';
      if (typeof value === 'number' && !Number.isInteger(value))
        return Number(value.toPrecision(FLOAT32_DIGITS));
      if (key === 'type' && value === 'bytes') return 'bytearray';
      if (key !== 'headers') return value;
      const headers = Object.entries(value as object).filter(([, each]) => typeof each === 'string');
      return Object.fromEntries(headers);
    });
  } catch {
    return withoutVolatile(text, record);
  }
}

/** What is compared of texts that are the server's own. */
function documentIn(text: string, { volatile = [] }: Pick<Recorded, 'volatile'>): unknown {
  if (text.startsWith('# HELP ')) return comparableMetrics(text);
  if (text.startsWith('{\n  "openapi": ')) return withoutDescriptions(text);
  if (!text.includes('"workers": [')) return undefined;
  const isVolatile = volatile.some((path) => /workers(\[\*\]\.status)?$|^worker status/.test(path));
  return withoutWorkers(text, isVolatile);
}

/** True for requests that were sent together, and may arrive in another order. */
function comesInAnyOrder({ volatile = [] }: Pick<Recorded, 'volatile'>): boolean {
  return volatile.some((path) => path.endsWith('(arrival order)'));
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
