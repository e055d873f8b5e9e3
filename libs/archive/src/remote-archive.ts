import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { get as getPlain, type IncomingMessage } from 'node:http';
import { get as getSecure } from 'node:https';
import { basename, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { MarlineError, isMarlineError } from '#libs/common';
import type { AllowedUrls, Permission } from './allowed-urls.js';
import { isPrivateHost, lookupPublic } from './private-address.js';

/** An archive from outside the model store, as a file of this machine. */
export interface FetchedArchive {
  readonly path: string;
  /** The file name in its URL. */
  readonly name: string;
  /** Hex sha256 values that it must have: what entries and the caller pinned. */
  readonly pins: readonly string[];
  /** True when code in it may run: the operator pinned the archive, or it is a file that he named in full. */
  readonly trusted: boolean;
}

const REDIRECTS: readonly (number | undefined)[] = [301, 302, 303, 307, 308];
const MOST_REDIRECTS = 5;
/** Without a byte for so long, a download has failed. */
const IDLE_MS = 30_000;
const LONGEST_MS = 30 * 60_000;
const REMOTE = /^(https?|file):\/\//i;
const PIN = /^#sha256=([\da-f]{64})$/i;

/** True for what is to be fetched, not found in the model store. */
export function isRemote(url: string): boolean {
  return REMOTE.test(url);
}

/**
 * Fetches an archive by a URL that is allowed, over HTTP into `folder`. Every redirect must be allowed, too. A host that no entry names in full
 * must not have an address of this machine or of a private network. `#sha256=…` behind the URL is what the archive must have.
 * @param limitBytes counted while it comes
 * @param admit throws for a file name that must not be fetched; asked when the URL is allowed
 * @throws MarlineError `ARCHIVE_URL_REFUSED`, `ARCHIVE_DOWNLOAD_FAILED`, `ARCHIVE_UNSAFE` above the limit
 */
export async function fetchArchive(
  url: string,
  allowed: AllowedUrls,
  folder: string,
  limitBytes: number,
  admit: (name: string) => Promise<void>,
): Promise<FetchedArchive> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined) throw failed(url, 'it is no URL');
  const asked = PIN.exec(parsed.hash)?.[1]?.toLowerCase();
  if (parsed.hash !== '' && asked === undefined) throw failed(url, 'behind "#" only sha256=… may stand');
  const name = basename(decoded(parsed.pathname));
  const hops: Permission[] = [];
  let current = parsed;
  for (;;) {
    const permission = allowed.permissionFor(current);
    if (permission === undefined) throw notAllowed(hops.length === 0 ? url : current.href);
    if (hops.length === 0) await admit(name);
    hops.push(permission);
    if (hops.length > MOST_REDIRECTS)
      throw failed(url, `it was redirected more than ${MOST_REDIRECTS - 1} times`);
    const found = await attempt(url, () =>
      fetchOnce(current, permission, folder, limitBytes, hops.length === 1),
    );
    if (typeof found === 'string') {
      const pins = hops.flatMap(({ sha256 }) => sha256 ?? []);
      return {
        path: found,
        name,
        pins: asked === undefined ? pins : [...pins, asked],
        trusted: pins.length > 0 || (parsed.protocol === 'file:' && hops.every(({ namesHost }) => namesHost)),
      };
    }
    current = found;
  }
}

/** @returns the path of the archive, or where it is said to be */
async function fetchOnce(
  url: URL,
  permission: Permission,
  folder: string,
  limitBytes: number,
  isFirst: boolean,
): Promise<string | URL> {
  if (url.protocol === 'file:') {
    // A server that redirects to files of this machine is up to no good, whatever the list allows.
    if (!isFirst) throw new Error('it was redirected to a file');
    const path = fileURLToPath(url);
    if (!(await stat(path)).isFile()) throw new Error('it is no file');
    return path;
  }
  const response = await request(url, permission);
  const { statusCode, headers } = response;
  if (REDIRECTS.includes(statusCode) && headers.location !== undefined) {
    response.destroy();
    return new URL(headers.location, url);
  }
  if (statusCode !== 200) {
    response.destroy();
    throw new Error(`the server answered ${statusCode}`);
  }
  const path = join(folder, url.pathname.endsWith('.mar') ? 'archive.mar' : 'archive');
  await pipeline(response, bounded(limitBytes), createWriteStream(path, { flags: 'wx', mode: 0o600 }));
  return path;
}

function request(url: URL, { namesHost }: Permission): Promise<IncomingMessage> {
  if (!namesHost && isPrivateHost(url.hostname))
    throw new Error('only an entry of the list that names it may lead to an address of a private network');
  return new Promise((resolve, reject) => {
    const get = url.protocol === 'https:' ? getSecure : getPlain;
    const asked = get(url, {
      agent: false,
      headers: { 'accept-encoding': 'identity' },
      signal: AbortSignal.timeout(LONGEST_MS),
      timeout: IDLE_MS,
      ...(!namesHost && { lookup: lookupPublic }),
    });
    asked.on('timeout', () => asked.destroy(new Error(`nothing came for ${IDLE_MS} ms`)));
    asked.on('error', reject).on('response', resolve);
  });
}

function bounded(limitBytes: number): Transform {
  let size = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size <= limitBytes) done(null, chunk);
      else
        done(
          new MarlineError('ARCHIVE_UNSAFE', { reason: `The archive is larger than ${limitBytes} bytes.` }),
        );
    },
  });
}

async function attempt<T>(url: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw isMarlineError(error) ? error : failed(url, error);
  }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** The reason is for the log alone: who may ask must not learn what answers in the server's network. */
function failed(url: string, why: unknown): MarlineError {
  return new MarlineError(
    'ARCHIVE_DOWNLOAD_FAILED',
    { url },
    { cause: why instanceof Error ? why : new Error(String(why)) },
  );
}

function notAllowed(url: string): MarlineError {
  return new MarlineError('ARCHIVE_URL_REFUSED', {
    reason: `Given URL ${url} does not match any allowed URL(s)`,
  });
}
