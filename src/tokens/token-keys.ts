import { randomBytes, timingSafeEqual } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { MarlineError, messageOf } from '#libs/common';

/** The APIs that have a key of their own. */
export type TokenPurpose = 'inference' | 'management';

interface ExpiringKey {
  readonly key: string;
  /** In milliseconds since 1970. */
  readonly expiresAt: number;
}

/** 256 bits; TorchServe's keys have 48, which can be guessed. */
const KEY_BYTES = 32;
const MS_PER_MINUTE = 60_000;
/** TorchServe takes the scheme in this letter case only, and any blanks behind it. */
const BEARER = /^Bearer\s+(\S+)$/;

export interface TokenKeysOptions {
  /** Path of the key file: TorchServe's `key_file.json`. */
  readonly file: string;
  /** Minutes that a key of an API lives. */
  readonly expirationMin: number;
  /** Milliseconds since 1970. `Date.now` by default. */
  readonly now?: () => number;
}

/**
 * The keys of TorchServe's token authorization: one for inference and one for management, which expire, and one that
 * makes new ones. They are fresh at every start and stand in a file that only the user of the server can read.
 */
export class TokenKeys {
  readonly #options: Required<TokenKeysOptions>;
  readonly #renewalKey = newKey();
  #keys: Readonly<Record<TokenPurpose, ExpiringKey>>;

  /** @throws MarlineError `OPTIONS_INVALID` when the key file cannot be written: nobody could use the server then */
  constructor(options: TokenKeysOptions) {
    this.#options = { now: Date.now, ...options };
    this.#keys = { management: this.#expiringKey(), inference: this.#expiringKey() };
    try {
      this.#write(this.#keys);
    } catch (cause) {
      const reason = `The key file ${options.file} cannot be written (${messageOf(cause)}). Start the server in a folder of its own, or turn token authorization off: --disable-token-auth.`;
      throw new MarlineError('OPTIONS_INVALID', { reason }, { cause });
    }
  }

  /** True when this `Authorization` has the key of the API, and it has not expired. */
  allows(purpose: TokenPurpose, authorization: string | undefined): boolean {
    const { key, expiresAt } = this.#keys[purpose];
    return isKey(key, authorization) && this.#options.now() < expiresAt;
  }

  /** True when this `Authorization` has the key that makes new ones. It never expires. */
  allowsRenewal(authorization: string | undefined): boolean {
    return isKey(this.#renewalKey, authorization);
  }

  /** Puts a new key in the place of an API's, here and in the file. When the file cannot be written, the old key stays. */
  renew(purpose: TokenPurpose): void {
    const keys = { ...this.#keys, [purpose]: this.#expiringKey() };
    this.#write(keys);
    this.#keys = keys;
  }

  #expiringKey(): ExpiringKey {
    const { now, expirationMin } = this.#options;
    return { key: newKey(), expiresAt: now() + expirationMin * MS_PER_MINUTE };
  }

  // Renamed into place: a reader never sees half a file, and a link that somebody put there is replaced, not followed.
  #write({ management, inference }: Readonly<Record<TokenPurpose, ExpiringKey>>): void {
    const { file } = this.#options;
    const content = {
      management: shown(management),
      inference: shown(inference),
      API: { key: this.#renewalKey },
    };
    const staging = `${file}.${newKey()}`;
    try {
      writeFileSync(staging, JSON.stringify(content, null, 2), { flag: 'wx', mode: 0o600, flush: true });
      renameSync(staging, file);
    } catch (error) {
      rmSync(staging, { force: true });
      throw error;
    }
  }
}

function newKey(): string {
  return randomBytes(KEY_BYTES).toString('base64url');
}

/** In constant time; the length of a key is no secret. */
function isKey(key: string, authorization = ''): boolean {
  const given = Buffer.from(BEARER.exec(authorization)?.[1] ?? '', 'latin1');
  const expected = Buffer.from(key, 'latin1');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function shown({ key, expiresAt }: ExpiringKey): Readonly<Record<string, string>> {
  return { key, 'expiration time': new Date(expiresAt).toISOString() };
}
