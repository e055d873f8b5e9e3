import { describe, expect, it } from 'vitest';
import { TrafficSplit, weightsProblem } from './traffic-split.js';

const everybody = () => true;

function turns(split: TrafficSplit, count: number, isOpen: (version: string) => boolean = everybody) {
  return Array.from({ length: count }, () => split.next(isOpen));
}

const countOf = (taken: readonly unknown[], version: string) =>
  taken.filter((each) => each === version).length;

describe('turns', () => {
  it.each([
    { a: 90, b: 10 },
    { a: 1, b: 1 },
    { a: 0.1, b: 0.2 },
    { a: 1, b: 999_999 },
    { a: 1, b: 1, c: 1 },
    { a: 50, b: 30, c: 15, d: 5 },
    { a: 6, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1 },
    { a: 3, b: Math.PI, c: Math.E, d: 1e-7 },
  ])('are shared exactly, at every moment, by %j', (weights) => {
    const split = new TrafficSplit(weights as unknown as Record<string, number>);
    const sum = Object.values(weights).reduce((total, weight) => total + weight, 0);
    const had = new Map<string, number>();
    let worst = 0;
    for (let turn = 1; turn <= 5_000; turn++) {
      const version = split.next(everybody)!;
      had.set(version, (had.get(version) ?? 0) + 1);
      for (const [each, weight] of Object.entries(weights))
        worst = Math.max(worst, Math.abs((had.get(each) ?? 0) - (turn * weight) / sum));
    }
    expect(worst).toBeLessThan(1);
  });

  it('are spread, not bunched', () => {
    const taken = turns(new TrafficSplit({ a: 90, b: 10 }), 100);
    for (let at = 0; at < 100; at += 10) expect(countOf(taken.slice(at, at + 10), 'b')).toBe(1);
  });

  it('pass over a version without a weight', () => {
    expect(countOf(turns(new TrafficSplit({ a: 1, b: 0 }), 50), 'a')).toBe(50);
  });

  it('of a version that is closed go to the others by their weights, and nothing is made up for', () => {
    const split = new TrafficSplit({ a: 60, b: 30, c: 10 });
    turns(split, 100);
    const without = turns(split, 90, (version) => version !== 'c');
    expect([countOf(without, 'c'), Math.abs(countOf(without, 'a') - 60) <= 1]).toEqual([0, true]);
    const again = turns(split, 100);
    expect(Math.abs(countOf(again, 'c') - 10)).toBeLessThanOrEqual(1);
  });

  it("are nobody's when all are closed", () => {
    expect(new TrafficSplit({ a: 1, b: 1 }).next(() => false)).toBeUndefined();
  });
});

describe('weights', () => {
  it.each([
    [undefined, 'Give an object'],
    [[1, 2], 'Give an object'],
    ['90/10', 'Give an object'],
    [{}, 'There are no weights'],
    [{ '1.0': -1, '2.0': 5 }, 'The weight of version 1.0 is -1: give a number from 0 to 1000000.'],
    [{ '1.0': NaN }, 'The weight of version 1.0 is'],
    [{ '1.0': Infinity }, 'The weight of version 1.0 is'],
    [{ '1.0': '90' }, 'The weight of version 1.0 is "90"'],
    [{ '1.0': null }, 'The weight of version 1.0 is null'],
    [{ '1.0': 1_000_001 }, 'The weight of version 1.0 is 1000001'],
    [{ '1.0': 0, '2.0': 0 }, 'All weights are 0'],
    [Object.fromEntries(Array.from({ length: 101 }, (_, at) => [`v${at}`, 1])), 'There are 101 weights'],
    [JSON.parse('{"__proto__": -1}'), 'The weight of version __proto__ is -1'],
  ])('that are none are named: %j', (weights, text) => {
    expect(weightsProblem(weights)).toContain(text);
    expect(() => new TrafficSplit(weights as Record<string, number>)).toThrow(
      expect.objectContaining({ code: 'BAD_REQUEST' }),
    );
  });
});
