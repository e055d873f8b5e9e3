import { MarlineError } from '#libs/common';

/** What allows a URL. */
export interface Permission {
  /** True when the entry names the host (or, of a file, no host) in full: the operator knows who answers there. */
  readonly namesHost: boolean;
  /** Hex sha256 that the archive must have. */
  readonly sha256?: string;
}

interface Entry extends Permission {
  readonly scheme: RegExp;
  readonly authority: RegExp;
  readonly path: RegExp;
}

const PIN = /#sha256=([\da-f]{64})$/i;
/** Dots are what host names are made of, so here they are no wild cards. */
const PLAIN_AUTHORITY = /^[\w.:[\]-]*$/;

/**
 * TorchServe's `allowed_urls`: regular expressions, each for whole URLs. TorchServe compares them with the text of a URL; here each part is
 * compared for itself with the same part of the parsed URL, so that a host's expression never reaches into a path, and a
 * host without special characters means itself. `#sha256=…` behind an entry pins the archive.
 * @example new AllowedUrls(['https://models.example.com/.*', 'file:///srv/models/.*'])
 */
export class AllowedUrls {
  readonly #entries: readonly Entry[];

  /** @throws MarlineError `OPTIONS_INVALID` for an entry that is no URL or no regular expression */
  constructor(entries: readonly string[]) {
    this.#entries = entries.flatMap(alternatives).map(parseEntry);
  }

  /** What allows the URL: of several entries one with a pin, else one that names the host; `undefined` when none does. */
  permissionFor(url: URL): Permission | undefined {
    if (url.username !== '' || url.password !== '') return undefined;
    const matching = this.#entries.filter(
      ({ scheme, authority, path }) =>
        scheme.test(url.protocol.slice(0, -1)) &&
        authority.test(url.host) &&
        path.test(url.pathname + url.search),
    );
    return (
      matching.find(({ sha256 }) => sha256 !== undefined) ??
      matching.find(({ namesHost }) => namesHost) ??
      matching[0]
    );
  }
}

/** `file://.*|http(s)?://.*`, TorchServe's own default, is two entries. */
function alternatives(entry: string): string[] {
  const parts = entry.split('|');
  return parts.every((part) => part.includes('://')) ? parts : [entry];
}

function parseEntry(text: string): Entry {
  const sha256 = PIN.exec(text)?.[1]?.toLowerCase();
  const [, scheme, authority = '', path] = /^([^:/]+):\/\/([^/]*)(\/.*)?$/.exec(text.replace(PIN, '')) ?? [];
  if (scheme === undefined) throw invalid(text, 'it does not begin with a scheme, such as https://');
  const namesHost = PLAIN_AUTHORITY.test(authority);
  return {
    namesHost,
    ...(sha256 !== undefined && { sha256 }),
    scheme: expression(scheme, text),
    authority: expression(namesHost ? withoutWildCards(authority) : authority, text),
    path: expression(path ?? '.*', text),
  };
}

function withoutWildCards(authority: string): string {
  return authority.replaceAll(/[.[\]-]/g, '\\$&');
}

function expression(part: string, entry: string): RegExp {
  try {
    return new RegExp(`^(?:${part})$`, 'i');
  } catch (cause) {
    throw invalid(entry, `"${part}" is no regular expression`, cause);
  }
}

function invalid(entry: string, why: string, cause?: unknown): MarlineError {
  const reason = `Allowed URL "${entry}": ${why}. Write it like https://models.example.com/.*`;
  return new MarlineError('OPTIONS_INVALID', { reason }, { cause });
}
