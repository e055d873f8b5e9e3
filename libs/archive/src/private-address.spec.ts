import { describe, expect, it } from 'vitest';
import { isPrivateAddress, isPrivateHost, lookupPublic } from './private-address.js';

describe('private addresses', () => {
  it.each([
    '127.0.0.1',
    '0.0.0.0',
    '10.1.2.3',
    '172.31.255.255',
    '192.168.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1',
    'fd00:ec2::254',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    '2002:a00:1::',
  ])('are such as %s', (address) => expect(isPrivateAddress(address)).toBe(true));

  it.each(['8.8.8.8', '172.32.0.1', '192.169.0.1', '2606:4700::1111'])('are not %s', (address) =>
    expect(isPrivateAddress(address)).toBe(false),
  );

  it.each([
    // A parsed URL has other spellings of 127.0.0.1 in this form already.
    [new URL('http://0x7f.1/').hostname, true],
    [new URL('http://2130706433/').hostname, true],
    ['[::1]', true],
    ['example.com', false],
  ])('may be the host %s itself: %s', (host, expected) => expect(isPrivateHost(host)).toBe(expected));

  it('fail a name that leads to one', async () => {
    const error = await new Promise((resolve) =>
      lookupPublic('localhost', {}, (failure) => resolve(failure)),
    );
    expect(String(error)).toContain('has an address of a private network');
  });
});
