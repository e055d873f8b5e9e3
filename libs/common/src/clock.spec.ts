import { expect, it, vi } from 'vitest';
import { ManualClock, systemClock } from './clock.js';

it('does not fire at once for a delay that is longer than a timer can be', () => {
  vi.useFakeTimers();
  try {
    const fired: string[] = [];
    systemClock.after(Infinity, () => fired.push('infinite'));
    systemClock.after(1e12, () => fired.push('long'));
    systemClock.after(5, () => fired.push('short'));
    vi.advanceTimersByTime(60_000);
    expect(fired).toEqual(['short']);
  } finally {
    vi.useRealTimers();
  }
});

it('calls what is due in order of time, and not what was cancelled', () => {
  const clock = new ManualClock();
  const called: number[] = [];
  clock.after(20, () => called.push(clock.now()));
  clock.after(10, () => clock.after(5, () => called.push(clock.now())));
  clock.after(12, () => called.push(-1))();
  clock.advance(30);
  expect(called).toEqual([15, 20]);
  expect(clock.now()).toBe(30);
});
