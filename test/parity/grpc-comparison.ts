import { status } from '@grpc/grpc-js';
import type { Reading } from './comparison.js';
import { withoutNotes, type GrpcAnswer } from '../support/grpc-client.js';
import type { RecordedGrpc } from './records.js';

/** What is compared of a call: all but what is different on every machine. */
export interface ComparableCall {
  readonly code: string;
  readonly details: string;
  readonly messages: readonly unknown[];
}

interface InferOutput {
  readonly contents?: { readonly bytes_contents?: readonly string[] };
}

/** Success has no text that a client would see, and of a deadline the client itself tells, in words of its library. */
const WORDLESS = new Set<number>([status.OK, status.DEADLINE_EXCEEDED]);
/** A field in front of a text: its tag, and the length of the text. */
const FIELD_HEAD_BYTES = 2;

/** What is compared of an answer of ours. */
export function receivedCall(
  { code, details, messages }: GrpcAnswer,
  record: RecordedGrpc,
  read: Reading,
): ComparableCall {
  return comparable(code, details, messages, record, read);
}

/** What is compared of the recorded answer. */
export function expectedCall(record: RecordedGrpc, read: Reading): ComparableCall {
  const { codeNumber, details, messages } = record.response;
  return comparable(codeNumber, details, messages.map(withoutNotes), record, read);
}

function comparable(
  code: number,
  details: string,
  messages: readonly object[],
  record: RecordedGrpc,
  read: Reading,
): ComparableCall {
  return {
    code: status[code] ?? String(code),
    details: WORDLESS.has(code) ? '' : details,
    messages: messages.map((message) => comparableMessage(message, record, read)),
  };
}

function comparableMessage(message: object, record: RecordedGrpc, read: Reading): object {
  const { prediction, msg, status: inBand, outputs, ...rest } = message as Readonly<Record<string, unknown>>;
  return {
    ...rest,
    ...(Array.isArray(outputs) && {
      outputs: outputs.map((output) => comparableOutput(output, record, read)),
    }),
    ...(typeof prediction === 'string' && prediction !== ''
      ? { prediction: read(textOf(prediction), record) }
      : {}),
    ...(typeof msg === 'string' ? { msg: read(msg, record) } : {}),
    ...(inBand === undefined || inBand === null ? {} : { status: comparableStatus(inBand) }),
    ...(record.volatile?.includes('response.messages[0].id') === true ? { id: 'any' } : {}),
  };
}

/** An output of the open inference protocol: an element of `BYTES` is the JSON of what a handler answered. */
function comparableOutput(output: InferOutput, record: RecordedGrpc, read: Reading): object {
  const { bytes_contents: elements } = output.contents ?? {};
  if (elements === undefined) return output;
  return { ...output, contents: elements.map((element) => read(textOf(element), record)) };
}

function textOf(base64: string): string {
  return Buffer.from(base64, 'base64').toString('latin1');
}

/** `google.rpc.Status`; the details are JSON in the records, and bytes on the wire. */
function comparableStatus(inBand: object): object {
  const { details = [], ...rest } = inBand as { readonly details?: readonly Record<string, string>[] };
  return {
    ...rest,
    details: details.map(({ type_url: url, value, ...json }) =>
      url === undefined || value === undefined
        ? json
        : { '@type': url, reason: Buffer.from(value, 'base64').subarray(FIELD_HEAD_BYTES).toString() },
    ),
  };
}
