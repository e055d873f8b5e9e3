import { describe, expect, it } from 'vitest';
import type { Priority } from './prediction.js';
import { WaitingLine } from './waiting-line.js';

function line(...who: readonly (readonly [value: string, priority?: Priority, tenant?: string])[]) {
  const waiting = new WaitingLine<string>();
  const places = new Map(
    who.map(([value, priority, tenant]) => [value, waiting.push(value, priority, tenant)]),
  );
  const drain = () => Array.from({ length: waiting.length }, () => waiting.shift()).join(' ');
  return { waiting, places, drain };
}

describe('WaitingLine', () => {
  it('serves in order of arrival', () => {
    expect(line(['a'], ['b'], ['c']).drain()).toBe('a b c');
  });

  it('serves higher priorities first', () => {
    const { drain } = line(['l', 'low'], ['n1'], ['h1', 'high'], ['n2', 'normal'], ['h2', 'high']);
    expect(drain()).toBe('h1 h2 n1 n2 l');
  });

  it('serves tenants in turn, however many requests each has', () => {
    const { drain } = line(
      ['a1', 'normal', 'a'],
      ['a2', 'normal', 'a'],
      ['a3', 'normal', 'a'],
      ['b1', 'normal', 'b'],
      ['none'],
      ['b2', 'normal', 'b'],
    );
    expect(drain()).toBe('a1 b1 none a2 b2 a3');
  });

  it('gives a newcomer his turn behind those who wait, and nobody two in a row', () => {
    const { waiting, drain } = line(
      ['a1', 'normal', 'a'],
      ['a2', 'normal', 'a'],
      ['b1', 'normal', 'b'],
      ['b2', 'normal', 'b'],
    );
    expect(waiting.shift()).toBe('a1');
    waiting.push('c1', 'normal', 'c');
    expect(drain()).toBe('b1 a2 c1 b2');
  });

  it.each(['a1', 'a2', 'a3', 'b1'])('lets %s leave from wherever he stands', (who) => {
    const { waiting, places, drain } = line(
      ['a1', 'normal', 'a'],
      ['a2', 'normal', 'a'],
      ['a3', 'normal', 'a'],
      ['b1', 'normal', 'b'],
    );
    const place = places.get(who);
    if (place !== undefined) waiting.remove(place);
    const left = drain().split(' ');
    expect(left.toSorted()).toEqual(['a1', 'a2', 'a3', 'b1'].filter((name) => name !== who));
    expect(waiting.shift()).toBeUndefined();
  });

  it('tells who is before a newcomer', () => {
    const { waiting } = line(['h', 'high'], ['n'], ['l', 'low']);
    expect([waiting.ahead('high'), waiting.ahead(), waiting.ahead('low')]).toEqual([1, 2, 3]);
  });

  it('keeps nothing of tenants who are gone', () => {
    const { waiting } = line();
    for (let tenant = 0; tenant < 10_000; tenant++) {
      waiting.push('x', 'normal', `tenant ${tenant}`);
      waiting.shift();
    }
    expect([...waiting]).toEqual([]);
    expect(waiting.length).toBe(0);
    expect(waiting.peek()).toBeUndefined();
  });
});
