import type { MessagePort } from 'node:worker_threads';
import { isTaken } from './buffer-pool.js';
import type { BatchItem, ItemResult, TensorData, Tensors, WorkerInput } from '#libs/common';

/*
 * What moves between threads instead of being copied. A view that owns its whole buffer is transferred as it is; any other
 * is cut out first, because structured clone sends the whole buffer behind a view: all of Node's 8 KiB pool for a small
 * body, with whatever other requests left in it.
 */

/** The item as it is posted; its buffers are added to `transfer`. @throws TypeError when a buffer was transferred before */
export function packItem(item: BatchItem, transfer: Set<ArrayBuffer>): BatchItem {
  return { id: item.id, input: packInput(item.input, transfer) };
}

function packInput(input: WorkerInput, transfer: Set<ArrayBuffer>): WorkerInput {
  if (input.kind === 'tensors') return { ...input, tensors: packTensors(input.tensors, transfer) };
  if (input.kind === 'protocol') return { ...input, body: packView(input.body, transfer) };
  const parameters = input.parameters.map((parameter) => ({
    ...parameter,
    value: packView(parameter.value, transfer),
  }));
  return { ...input, parameters };
}

/** The result as it is posted; its buffers are added to `transfer`. @throws TypeError when a buffer was transferred before */
export function packResult(result: ItemResult, transfer: Set<ArrayBuffer>): ItemResult {
  const { output } = result;
  switch (output.kind) {
    case 'bytes':
      return { ...result, output: { ...output, bytes: packView(output.bytes, transfer) } };
    case 'tensors':
      return { ...result, output: { ...output, tensors: packTensors(output.tensors, transfer) } };
    default:
      return result;
  }
}

function packTensors(tensors: Tensors, transfer: Set<ArrayBuffer>): Tensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [
      name,
      { ...tensor, data: packData(tensor.data, transfer) },
    ]),
  );
}

function packData(data: TensorData, transfer: Set<ArrayBuffer>): TensorData {
  return Array.isArray(data) ? data : packView(data, transfer);
}

function packView<View extends Exclude<TensorData, string[]>>(view: View, transfer: Set<ArrayBuffer>): View {
  // An empty view is copied too: shared constants stay usable, and a copy tells a detached buffer by throwing.
  const whole =
    view.byteLength > 0 &&
    view.buffer instanceof ArrayBuffer &&
    (view.byteLength === view.buffer.byteLength || isTaken(view.buffer));
  const own = whole ? view : copyOf(view);
  transfer.add(own.buffer as ArrayBuffer);
  return own;
}

function copyOf<View extends Exclude<TensorData, string[]>>(view: View): View {
  // Buffer.prototype.slice gives another view of the same memory.
  return (view instanceof Uint8Array ? new Uint8Array(view) : view.slice()) as View;
}

/**
 * Posts a message and moves the buffers of `transfer`, or copies all of them when one cannot be moved (an add-on's memory,
 * a WebAssembly memory). @throws DataCloneError when the message holds what cannot be cloned; nothing was moved then
 */
export function post(port: MessagePort, message: unknown, transfer: ReadonlySet<ArrayBuffer>): void {
  try {
    port.postMessage(message, [...transfer]);
  } catch {
    port.postMessage(message);
  }
}
