/** Where a client is: `host:port`; `undefined` over a Unix socket. */
export function remoteOf({
  remoteAddress,
  remotePort,
}: {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}): string | undefined {
  if (remoteAddress === undefined) return undefined;
  if (!remoteAddress.includes(':')) return `${remoteAddress}:${remotePort}`;
  return remoteAddress.startsWith('::ffff:')
    ? `${remoteAddress.slice('::ffff:'.length)}:${remotePort}`
    : `[${remoteAddress}]:${remotePort}`;
}

const MOST_PATH_LENGTH = 1024;
const HARMLESS = /^\/[\w./-]*$/;
const UNPRINTABLE = /[^\x21-\x7e]|["\\]/g;

/** The path of a request, printable, and without what may be secret: the query, and a user and password before the host. */
export function pathOf(url: string): string {
  const query = url.indexOf('?');
  const whole = query === -1 ? url : url.slice(0, query);
  if (whole.length <= MOST_PATH_LENGTH && HARMLESS.test(whole)) return whole;
  const path = whole.startsWith('/') ? whole : whole.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, '');
  // Node reads the bytes of a request's head as latin1.
  return path
    .slice(0, MOST_PATH_LENGTH)
    .replaceAll(
      UNPRINTABLE,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    );
}
