import { describe, expect, it } from 'vitest';
import { ManualClock } from '#libs/common';
import { Backoff } from './backoff.js';

describe('Backoff', () => {
  it("follows TorchServe's delays and repeats the last", () => {
    const backoff = new Backoff(Infinity, new ManualClock(), () => 0);
    const seconds = Array.from({ length: 19 }, () => (backoff.next() ?? 0) / 1000);
    expect(seconds).toEqual([
      1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 1597, 1597,
    ]);
  });

  it('adds up to a tenth, never less', () => {
    expect(new Backoff(Infinity, new ManualClock(), () => 0.5).next()).toBe(1050);
  });

  it('ends when the window since the first failure is over, and begins anew after a success', () => {
    const clock = new ManualClock();
    const backoff = new Backoff(10_000, clock, () => 0);
    expect(backoff.next()).toBe(1000);
    clock.advance(9999);
    expect(backoff.next()).toBe(1000);
    clock.advance(1);
    expect(backoff.next()).toBeUndefined();
    backoff.reset();
    expect(backoff.next()).toBe(1000);
  });

  it('gives no second try without a window', () => {
    expect(new Backoff(0, new ManualClock()).next()).toBeUndefined();
  });
});
