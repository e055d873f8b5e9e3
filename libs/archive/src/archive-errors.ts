import { MarlineError, isMarlineError, messageOf } from '#libs/common';

/** The archive cannot be read: damaged, encrypted, of another kind. */
export function invalid(reason: string): MarlineError {
  return new MarlineError('ARCHIVE_INVALID', { reason });
}

/** The archive can be read and must not be: it attacks, exceeds a limit, or is for something else. */
export function unsafe(reason: string): MarlineError {
  return new MarlineError('ARCHIVE_UNSAFE', { reason });
}

/**
 * What a failed read means. A failed system call is the server's trouble, and its text holds paths: it becomes
 * `INTERNAL`; what a parser threw becomes `ARCHIVE_INVALID`.
 * @param kind what the archive should have been, for example `zip file`
 */
export function readFailure(error: unknown, kind: string): MarlineError {
  if (isMarlineError(error)) return error;
  if (error instanceof Error && 'syscall' in error) return new MarlineError('INTERNAL', {}, { cause: error });
  return new MarlineError(
    'ARCHIVE_INVALID',
    { reason: `It is not a sound ${kind} (${messageOf(error)}).` },
    { cause: error },
  );
}
