import { MessageChannel } from 'node:worker_threads';

/** A port that is closed: what is moved into it belongs to nobody, and its memory is free at once. */
const { port1: nowhere } = new MessageChannel();
nowhere.close();

/**
 * Frees the memory of a buffer now instead of at some later collection; it is empty afterwards, and so are all views of it.
 *
 * V8 counts the memory of buffers as if it were heap. A server that lets 600 KB a request lie until the next collection was
 * measured to collect its whole heap seven times a second, at a fifth of its CPU; and the next buffer gets the same memory, which is warm.
 */
export function freeBuffer(buffer: ArrayBuffer): void {
  nowhere.postMessage(null, [buffer]);
}
