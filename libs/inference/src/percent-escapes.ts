import { MarlineError } from '#libs/common';

const ESCAPE = /%(..?)?/gs;
const HEX_BYTE = /^[\da-f]{2}$/i;

/**
 * Checks the percent escapes of a request target, or of the part of it that counts.
 * @throws MarlineError `BROKEN_ESCAPE` with TorchServe's words for the first that is none
 */
export function assertEscapes(target: string): void {
  for (const { 1: byte = '', index } of target.matchAll(ESCAPE)) {
    if (byte.length < 2) throw broken(`unterminated escape sequence at index ${index} of: ${target}`);
    if (!HEX_BYTE.test(byte)) throw broken(`invalid hex byte '${byte}' at index ${index + 1} of '${target}'`);
  }
}

function broken(reason: string): MarlineError {
  return new MarlineError('BROKEN_ESCAPE', { reason });
}
