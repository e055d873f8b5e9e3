import { status } from '@grpc/grpc-js';
import { withoutVolatile } from './comparison.js';
import { withoutNotes, type GrpcAnswer } from '../support/grpc-client.js';
import type { RecordedGrpc } from './records.js';

/** What is compared of a call: all but what is different on every machine. */
export interface ComparableCall {
  readonly code: string;
  readonly details: string;
  readonly messages: readonly unknown[];
}

/** Success has no text that a client would see, and of a deadline the client itself tells, in words of its library. */
const WORDLESS = new Set<number>([status.OK, status.DEADLINE_EXCEEDED]);
/** A field in front of a text: its tag, and the length of the text. */
const FIELD_HEAD_BYTES = 2;

/** What is compared of an answer of ours. */
export function receivedCall({ code, details, messages }: GrpcAnswer, record: RecordedGrpc): ComparableCall {
  return comparable(code, details, messages, record);
}

/** What is compared of the recorded answer. */
export function expectedCall(record: RecordedGrpc): ComparableCall {
  const { codeNumber, details, messages } = record.response;
  return comparable(codeNumber, details, messages.map(withoutNotes), record);
}

function comparable(
  code: number,
  details: string,
  messages: readonly object[],
  record: RecordedGrpc,
): ComparableCall {
  return {
    code: status[code] ?? String(code),
    details: WORDLESS.has(code) ? '' : details,
    messages: messages.map((message) => comparableMessage(message, record)),
  };
}

function comparableMessage(message: object, record: RecordedGrpc): object {
  const { prediction, msg, status: inBand, ...rest } = message as Readonly<Record<string, unknown>>;
  return {
    ...rest,
    ...(typeof prediction === 'string' && prediction !== ''
      ? { prediction: withoutVolatile(Buffer.from(prediction, 'base64').toString('latin1'), record) }
      : {}),
    ...(typeof msg === 'string' ? { msg: withoutVolatile(msg, record) } : {}),
    ...(inBand === undefined || inBand === null ? {} : { status: comparableStatus(inBand) }),
    ...(record.volatile?.includes('response.messages[0].id') === true ? { id: 'any' } : {}),
  };
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
