import { describe, expect, it } from 'vitest';
import { AllowedUrls } from './allowed-urls.js';

const allows = (entries: readonly string[], url: string) =>
  new AllowedUrls(entries).permissionFor(new URL(url)) !== undefined;

describe('allowed URLs', () => {
  it.each([
    ['https://models.example.com/.*', 'https://models.example.com/a.mar?x=1'],
    ['https://models.example.com/.*', 'HTTPS://MODELS.example.com/a.mar'],
    ['https://models.example.com', 'https://models.example.com/any.mar'],
    ['http://127.0.0.1:8080/ok/.*', 'http://127.0.0.1:8080/ok/a.mar'],
    ['https://.*\\.example\\.com/.*', 'https://a.example.com/x.mar'],
    ['file:///srv/models/.*', 'file:///srv/models/a.mar'],
    ['file://.*|http(s)?://.*', 'http://anywhere.example/a.mar'],
    ['file://.*|http(s)?://.*', 'file:///etc/passwd'],
    ['http://[::1]:8080/.*', 'http://[::1]:8080/a.mar'],
  ])('%s allows %s', (entry, url) => expect(allows([entry], url)).toBe(true));

  it.each([
    ['https://models.example.com/.*', 'https://modelsXexample.com/a.mar', 'a dot is a dot'],
    [
      'https://models.example.com/.*',
      'https://models.example.com.evil.example/a.mar',
      'a host is a whole host',
    ],
    [
      'https://models.example.com/.*',
      'https://evil.example/https://models.example.com/',
      'a path is no host',
    ],
    ['https://models.example.com/.*', 'https://models.example.com@evil.example/a.mar', 'a user is no host'],
    ['https://models.example.com/.*', 'https://user:secret@models.example.com/a.mar', 'no credentials'],
    ['https://models.example.com/.*', 'https://models.example.com:8443/a.mar', 'another port'],
    ['https://models.example.com/.*', 'http://models.example.com/a.mar', 'another scheme'],
    [
      'https://.*\\.example\\.com/.*',
      'https://evil.example/x.example.com/',
      'a wild card ends with the host',
    ],
    ['http://127.0.0.1:8080/ok/.*', 'http://127.0.0.1:8080/ok/../other/a.mar', 'paths are resolved first'],
    ['file:///srv/models/.*', 'file:///srv/models/%2e%2e/%2e%2e/etc/passwd', 'encoded ones too'],
    ['file:///srv/models/.*', 'file://host/srv/models/a.mar', 'a host of a file'],
  ])('%s does not allow %s: %s', (entry, url) => expect(allows([entry], url)).toBe(false));

  it('allow nothing when there are none', () => {
    expect(allows([], 'https://models.example.com/a.mar')).toBe(false);
  });

  it('say whether they name the host, and prefer a pin', () => {
    const sha256 = 'ab'.repeat(32);
    const urls = new AllowedUrls([
      'https://.*',
      'https://a.example/.*',
      `https://a.example/b.mar#sha256=${sha256}`,
    ]);
    const of = (url: string) => urls.permissionFor(new URL(url));
    expect(of('https://x.example/b.mar')).toMatchObject({ namesHost: false });
    expect(of('https://a.example/c.mar')).toMatchObject({ namesHost: true });
    expect(of('https://a.example/b.mar')).toMatchObject({ namesHost: true, sha256 });
  });

  it.each(['nonsense', '(', 'https://(/.*', '://x'])('refuse %s', (entry) => {
    expect(() => new AllowedUrls([entry])).toThrow(
      expect.objectContaining({ code: 'OPTIONS_INVALID' }) as Error,
    );
  });
});
