import {
  lstatSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TokenKeys } from './token-keys.js';

interface KeyFile {
  readonly management: { readonly key: string; readonly 'expiration time': string };
  readonly inference: { readonly key: string; readonly 'expiration time': string };
  readonly API: { readonly key: string };
}

let folder: string;
let file: string;
let now = 0;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'marline-tokens-'));
  file = join(folder, 'key_file.json');
  now = 1_000_000;
});
afterEach(() => rmSync(folder, { recursive: true }));

const make = () => new TokenKeys({ file, expirationMin: 0.5, now: () => now });
const read = () => JSON.parse(readFileSync(file, 'utf8')) as KeyFile;

describe('token keys', () => {
  it('stand in a file of TorchServe’s shape that only its owner can read', () => {
    make();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { management, inference, API } = read();
    expect(Object.keys(read())).toEqual(['management', 'inference', 'API']);
    expect(management['expiration time']).toBe('1970-01-01T00:17:10.000Z');
    const keys = [management.key, inference.key, API.key];
    expect(new Set(keys).size).toBe(3);
    for (const key of keys) expect(Buffer.from(key, 'base64url').length * 8).toBeGreaterThanOrEqual(128);
    expect(readdirSync(folder)).toEqual(['key_file.json']);
  });

  it('allow their own API only, until they expire', () => {
    const keys = make();
    const { management, inference, API } = read();
    expect(keys.allows('inference', `Bearer ${inference.key}`)).toBe(true);
    expect(keys.allows('inference', `Bearer   ${inference.key}`)).toBe(true);
    for (const wrong of [management.key, API.key])
      expect(keys.allows('inference', `Bearer ${wrong}`)).toBe(false);
    expect(keys.allowsRenewal(`Bearer ${management.key}`)).toBe(false);
    now += 30_000;
    expect(keys.allows('inference', `Bearer ${inference.key}`)).toBe(false);
    expect(keys.allowsRenewal(`Bearer ${API.key}`)).toBe(true);
  });

  it.each([
    ['nothing', () => undefined],
    ['an empty field', () => ''],
    ['the scheme alone', () => 'Bearer '],
    ['the key alone', (key: string) => key],
    ['another scheme', (key: string) => `Basic ${key}`],
    ['the scheme in small letters', (key: string) => `bearer ${key}`],
    ['something behind the key', (key: string) => `Bearer ${key} x`],
    ['a part of the key', (key: string) => `Bearer ${key.slice(0, -1)}`],
    ['another key of the same length', (key: string) => `Bearer ${'x'.repeat(key.length)}`],
  ])('are not %s', (_what, authorization) => {
    const keys = make();
    expect(keys.allows('inference', authorization(read().inference.key))).toBe(false);
  });

  it('are renewed one at a time', () => {
    const keys = make();
    const before = read();
    now += 1000;
    keys.renew('management');
    const after = read();
    expect([after.inference, after.API]).toEqual([before.inference, before.API]);
    expect(after.management.key).not.toBe(before.management.key);
    expect(keys.allows('management', `Bearer ${before.management.key}`)).toBe(false);
    expect(keys.allows('management', `Bearer ${after.management.key}`)).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('replace a link in the place of their file instead of writing where it leads', () => {
    const elsewhere = join(folder, 'elsewhere');
    writeFileSync(elsewhere, 'theirs');
    symlinkSync(elsewhere, file);
    make();
    expect(lstatSync(file).isSymbolicLink()).toBe(false);
    expect(readFileSync(elsewhere, 'utf8')).toBe('theirs');
  });

  it('are refused where they cannot be written, and stay when a new one cannot', () => {
    const keys = make();
    const { inference } = read();
    rmSync(folder, { recursive: true });
    expect(() => keys.renew('inference')).toThrow('ENOENT');
    expect(keys.allows('inference', `Bearer ${inference.key}`)).toBe(true);
    expect(make).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }) as Error);
    folder = mkdtempSync(join(tmpdir(), 'marline-tokens-'));
  });
});
