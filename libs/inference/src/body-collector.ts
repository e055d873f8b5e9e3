import { IncomingMessage } from 'node:http';
import { MarlineError } from '#libs/common';
import { freeBuffer, recycle, takeBuffer } from '#libs/pool';

const FIRST_CAPACITY = 16 * 1024;
/** A declared length up to here is believed at once … */
const BELIEVED_BYTES = 1024 * 1024;
/** … and a larger one when this much has come, so that a lie costs no memory. */
const PROOF_BYTES = 64 * 1024;
/** Freeing a smaller piece costs more than it saves. */
const WORTH_FREEING_BYTES = 16 * 1024;

/**
 * All bytes of a stream, in one growing buffer instead of a list: three million chunks of one byte would cost a hundred
 * times their size. With a declared length there is one copy, out of the socket's buffer into the one that goes to the worker.
 * @param declared the length that the client declared; NaN without one
 * @throws MarlineError `PAYLOAD_TOO_LARGE` above `limitBytes`, while what still comes is thrown away;
 *   `REQUEST_CANCELLED` when the stream ends early
 */
export function collectBody(
  stream: NodeJS.ReadableStream,
  limitBytes: number,
  declared: number,
): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    let body: Buffer<ArrayBuffer> | undefined;
    let size = 0;
    const settle = () =>
      stream.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone);
    const fail = (error: MarlineError) => {
      settle();
      if (body !== undefined) recycle(body.buffer);
      reject(error);
    };
    const onData = (chunk: Buffer<ArrayBuffer>) => {
      const needed = size + chunk.length;
      if (needed > limitBytes) {
        fail(new MarlineError('PAYLOAD_TOO_LARGE', { limitBytes }));
        // What still comes is thrown away, so that the answer reaches the client.
        stream.on('error', () => {}).resume();
        return;
      }
      if (body === undefined || needed > body.length)
        body = grown(body, size, capacityFor(needed, declared, limitBytes));
      body.set(chunk, size);
      size = needed;
      if (chunk.length >= WORTH_FREEING_BYTES && isOurs(chunk, stream)) freeBuffer(chunk.buffer);
    };
    const onEnd = () => {
      settle();
      resolve(body === undefined ? Buffer.from(new ArrayBuffer(0)) : Buffer.from(body.buffer, 0, size));
    };
    const onGone = (cause?: Error) => fail(new MarlineError('REQUEST_CANCELLED', {}, { cause }));
    stream.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone);
  });
}

/** True when nobody else can look at the piece: Node made it for this request alone, and no other listener saw it. */
function isOurs(chunk: Buffer, stream: NodeJS.ReadableStream): boolean {
  return (
    stream instanceof IncomingMessage &&
    stream.listenerCount('data') === 1 &&
    chunk.byteLength === chunk.buffer.byteLength
  );
}

function capacityFor(needed: number, declared: number, limitBytes: number): number {
  if (declared >= needed && (declared <= BELIEVED_BYTES || needed > PROOF_BYTES)) return declared;
  return Math.min(Math.max(2 * needed, FIRST_CAPACITY), declared >= needed ? declared : limitBytes);
}

function grown(buffer: Buffer<ArrayBuffer> | undefined, used: number, capacity: number): Buffer<ArrayBuffer> {
  const larger = Buffer.from(takeBuffer(capacity), 0, capacity);
  if (buffer !== undefined) {
    larger.set(buffer.subarray(0, used));
    recycle(buffer.buffer);
  }
  return larger;
}
