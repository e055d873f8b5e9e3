import { deserialize, serialize } from 'node:v8';
import {
  decodeError,
  encodeError,
  type EncodedError,
  type HandlerMetric,
  type Header,
  type ItemOutput,
  type ItemResult,
  type MarlineError,
} from '#libs/common';
import type { PacketReader, PacketWriter } from './packet.js';
import { readTensors, writeTensors } from './tensor-codec.js';

const TEXT = 0;
const BYTES = 1;
const TENSORS = 2;
const VALUE = 3;

const METRIC_TYPES = ['counter', 'gauge', 'histogram'] as const;
const ENCODINGS = ['json', 'text', 'binary', 'unknown'] as const;

/** @throws Error when the answer holds what cannot leave its thread: a function, a buffer that was moved away */
export function writeResult(packet: PacketWriter, { status, reason, headers, output }: ItemResult): void {
  const { values } = packet;
  packet.number(status);
  packet.text(reason);
  values.push(headers.length);
  for (const [name, value] of headers) {
    packet.text(name);
    packet.text(value);
  }
  switch (output.kind) {
    case 'text':
      values.push(TEXT, ENCODINGS.indexOf(output.encoding));
      packet.text(output.text);
      break;
    case 'bytes':
      values.push(BYTES, ENCODINGS.indexOf(output.encoding));
      packet.bytes(output.bytes);
      break;
    case 'tensors':
      values.push(TENSORS);
      writeTensors(packet, output.tensors);
      break;
    case 'value':
      // Serialised here and not with the packet, so that an answer that cannot be fails alone.
      values.push(VALUE);
      packet.bytes(serialize(output.value));
      break;
  }
}

/** @param shared other answers are in the packet too: this one gets bytes of its own, because its receiver may move them on */
export function readResult(packet: PacketReader, shared: boolean): ItemResult {
  const status = packet.number();
  const reason = packet.text();
  const headers: Header[] = [];
  for (let count = packet.count(packet.left); count > 0; count -= 1)
    headers.push([packet.text(), packet.text()]);
  return { status, reason, headers, output: readOutput(packet, shared) };
}

function readOutput(packet: PacketReader, shared: boolean): ItemOutput {
  switch (packet.number()) {
    case TEXT: {
      const encoding = readEncoding(packet);
      return { kind: 'text', encoding: encoding === 'json' ? 'json' : 'text', text: packet.text() };
    }
    case BYTES:
      return { kind: 'bytes', encoding: readEncoding(packet), bytes: packet.bytes(shared) };
    case TENSORS:
      return { kind: 'tensors', tensors: readTensors(packet, shared) };
    case VALUE:
      return { kind: 'value', value: deserialize(packet.bytes(false)) as unknown };
    default:
      throw new TypeError('A message of a worker holds no known kind of output.');
  }
}

function readEncoding(packet: PacketReader): (typeof ENCODINGS)[number] {
  return ENCODINGS[packet.number()] ?? 'text';
}

/** An error always arrives: details that are no plain data become its text alone. */
export function writeError(packet: PacketWriter, error: MarlineError): void {
  const encoded = encodeError(error);
  let bytes;
  try {
    bytes = serialize(encoded);
  } catch {
    bytes = serialize({ ...encoded, details: { reason: encoded.message } });
  }
  packet.bytes(bytes);
}

export function readError(packet: PacketReader): MarlineError {
  return decodeError(deserialize(packet.bytes(false)) as EncodedError);
}

/** @throws TypeError when the metric is none */
export function writeMetric(
  packet: PacketWriter,
  { name, value, unit, type, dimensions, requestIds = '' }: HandlerMetric,
): void {
  const entries = Object.entries(dimensions);
  if (!METRIC_TYPES.includes(type)) throw new TypeError(`A metric is one of ${METRIC_TYPES.join(', ')}.`);
  packet.text(name);
  packet.number(value);
  packet.text(unit);
  packet.text(requestIds);
  packet.values.push(METRIC_TYPES.indexOf(type), entries.length);
  for (const [key, text] of entries) {
    packet.values.push(key);
    packet.text(text);
  }
}

export function readMetric(packet: PacketReader): HandlerMetric {
  const [name, value, unit, requestIds] = [packet.text(), packet.number(), packet.text(), packet.text()];
  const type = METRIC_TYPES[packet.number()] ?? 'gauge';
  const dimensions: [string, string][] = [];
  for (let count = packet.count(packet.left); count > 0; count -= 1)
    dimensions.push([packet.text(), packet.text()]);
  const metric: HandlerMetric = { name, value, unit, type, dimensions: Object.fromEntries(dimensions) };
  return requestIds === '' ? metric : { ...metric, requestIds };
}
