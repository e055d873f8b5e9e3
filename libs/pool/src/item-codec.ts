import type { BatchItem, Parameter, WorkerInput } from '#libs/common';
import { clearTails } from './buffer-pool.js';
import type { PacketReader, PacketWriter } from './packet.js';
import { readTensors, writeTensors } from './tensor-codec.js';

const RAW = 0;
const PROTOCOL = 1;
const TENSORS = 2;
/** Stands for a body without binary tensors. */
const NO_JSON_LENGTH = -1;

/** @throws TypeError when a buffer of the item was moved away before, or a tensor's data is not of its type */
export function writeItem(packet: PacketWriter, { id, input }: BatchItem): void {
  const { values } = packet;
  switch (input.kind) {
    case 'raw':
      values.push(id, RAW, input.headers, input.parameters.length);
      for (const { name, contentType, value } of input.parameters) {
        values.push(name, contentType);
        packet.bytes(value);
      }
      // A handler that somebody wrote can look behind its view.
      clearTails(input.parameters);
      break;
    case 'protocol':
      values.push(id, PROTOCOL, input.jsonBytes ?? NO_JSON_LENGTH);
      packet.bytes(input.body);
      break;
    case 'tensors':
      values.push(id, TENSORS);
      writeTensors(packet, input.tensors);
      break;
  }
}

/**
 * The next item of a packet.
 * @param shared other requests are in the packet too: what a handler could look into is copied out
 */
export function readItem(packet: PacketReader, shared: boolean): BatchItem {
  return { id: packet.text(), input: readInput(packet, shared) };
}

function readInput(packet: PacketReader, shared: boolean): WorkerInput {
  switch (packet.number()) {
    case RAW:
      return { kind: 'raw', headers: packet.text(), parameters: readParameters(packet, shared) };
    case PROTOCOL: {
      const jsonBytes = packet.number();
      const body = packet.bytes(false);
      return jsonBytes === NO_JSON_LENGTH
        ? { kind: 'protocol', body }
        : { kind: 'protocol', body, jsonBytes };
    }
    case TENSORS:
      return { kind: 'tensors', tensors: readTensors(packet, shared) };
    default:
      throw new TypeError('A message to a worker holds no known kind of input.');
  }
}

function readParameters(packet: PacketReader, shared: boolean): Parameter[] {
  const parameters: Parameter[] = [];
  for (let count = packet.count(packet.left); count > 0; count -= 1) {
    parameters.push({ name: packet.text(), contentType: packet.text(), value: packet.bytes(shared) });
  }
  // A worker process reads into buffers that other requests were in.
  clearTails(parameters);
  return parameters;
}
