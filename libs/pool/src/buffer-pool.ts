import type { Parameter } from '#libs/common';

/** Below this size a fresh allocation costs less than looking one up, and copying it less than moving it. */
const SMALLEST_BYTES = 64 * 1024;
/** A buffer beyond this is so rare, and holds so much, that it is given back to the system. */
const LARGEST_BYTES = 16 * 1024 * 1024;
/** Bytes that wait in the pool at most. */
const LIMIT_BYTES = 64 * 1024 * 1024;
/** Sizes between one power of two and the next: a buffer is at most a quarter larger than what was asked for. */
const STEPS = 4;

/** Buffers that wait for their next use, by size; the last one given back is the first to go, as its pages are warm. */
const free = new Map<number, ArrayBuffer[]>();
/** Buffers handed out here and not moved to another thread since: a moved one is another object there. */
const taken = new WeakSet<ArrayBuffer>();
let waitingBytes = 0;

/**
 * A buffer for bytes that cross to a worker, from 64 KiB up one that was used before: fresh memory of this size costs more in
 * page faults than all else on the way. What is in it is left over from another request: fill it before you show it to anybody.
 *
 * @param byteLength how many bytes are needed; the buffer may be up to a quarter larger, so make your views of it shorter
 * @throws RangeError when `byteLength` is no size of a buffer, or the memory is not there
 */
export function takeBuffer(byteLength: number): ArrayBuffer {
  const size = sizeClass(byteLength);
  if (size === undefined) return new ArrayBuffer(byteLength);
  const waiting = free.get(size)?.pop();
  if (waiting === undefined) {
    const fresh = new ArrayBuffer(size);
    taken.add(fresh);
    return fresh;
  }
  waitingBytes -= size;
  taken.add(waiting);
  return waiting;
}

/**
 * Gives a buffer of {@link takeBuffer} back for another request, also one that came back from a worker. Nobody may look at it
 * any more. Ignored: what was moved away, what has no size of this pool, what waits here already, and what is too much.
 */
export function recycle(buffer: ArrayBuffer): void {
  const size = buffer.byteLength;
  if (!isPooledSize(size) || waitingBytes + size > LIMIT_BYTES) return;
  let waiting = free.get(size);
  if (waiting === undefined) free.set(size, (waiting = []));
  if (waiting.includes(buffer)) return;
  taken.delete(buffer);
  waiting.push(buffer);
  waitingBytes += size;
}

/**
 * {@link recycle}, for a buffer that never left this thread: only if it was taken here. Any other belongs to somebody who may
 * still look at it.
 */
export function recycleTaken(buffer: ArrayBuffer): void {
  if (taken.has(buffer)) recycle(buffer);
}

/** True for a buffer of {@link takeBuffer}: it is moved as a whole although the views of it are shorter. */
export function isTaken(buffer: ArrayBufferLike): boolean {
  return taken.has(buffer as ArrayBuffer);
}

/** True for the length of a buffer that can be given back. */
export function isPooledSize(byteLength: number): boolean {
  return sizeClass(byteLength) === byteLength;
}

/** Clears what another request left behind values that lie in buffers of {@link takeBuffer}; other memory is left as it is. */
export function clearTails(parameters: readonly Parameter[]): void {
  for (const { value } of parameters) {
    const { buffer } = value;
    if (!taken.has(buffer as ArrayBuffer)) continue;
    let end = 0;
    for (const other of parameters) {
      if (other.value.buffer === buffer) end = Math.max(end, other.value.byteOffset + other.value.byteLength);
    }
    new Uint8Array(buffer, end).fill(0);
  }
}

/** The size that a buffer of `byteLength` gets here; `undefined` where the pool is no gain. */
function sizeClass(byteLength: number): number | undefined {
  if (!(byteLength >= SMALLEST_BYTES && byteLength <= LARGEST_BYTES)) return undefined;
  const step = 2 ** (31 - Math.clz32(byteLength)) / STEPS;
  return Math.ceil(byteLength / step) * step;
}
