import { describe, expect, it, vi } from 'vitest';
import { ManualClock } from '#libs/common';
import { CollectingSink, textResult } from '../../../test/support/collecting-sink.js';
import { RunLimit } from './run-watch.js';

function watched(limitMs = 100) {
  const clock = new ManualClock();
  const sink = new CollectingSink();
  const state = { timeouts: 0 };
  const limit = new RunLimit(limitMs, clock, () => {
    state.timeouts += 1;
  });
  const watch = limit.begin(sink);
  return { clock, sink, state, limit, watch };
}

describe('RunLimit', () => {
  it('tells once when no reply comes within the limit', () => {
    const { clock, state } = watched();
    clock.advance(99);
    expect(state.timeouts).toBe(0);
    clock.advance(1000);
    expect(state.timeouts).toBe(1);
  });

  it('starts afresh with every reply', () => {
    const { clock, state, watch } = watched();
    clock.advance(60);
    watch.result('a', textResult('a'));
    clock.advance(60);
    expect(state.timeouts).toBe(0);
    clock.advance(40);
    expect(state.timeouts).toBe(1);
  });

  it('stands still while a chunk waits for its reader', async () => {
    const { clock, sink, state, watch } = watched();
    let take: () => void = () => {};
    sink.room = () =>
      new Promise((resolve) => {
        take = resolve;
      });
    const taken = watch.chunk('a', textResult('1'));
    clock.advance(10_000);
    expect(state.timeouts).toBe(0);
    take();
    await taken;
    clock.advance(100);
    expect(state.timeouts).toBe(1);
  });

  it('goes on when the item whose chunk waits is cancelled or answered', () => {
    const { clock, sink, state, watch } = watched();
    sink.room = () => new Promise(() => {});
    void watch.chunk('a', textResult('1'));
    void watch.chunk('b', textResult('1'));
    watch.release('a');
    clock.advance(200);
    expect(state.timeouts).toBe(0);
    watch.result('b', textResult('b'));
    clock.advance(100);
    expect(state.timeouts).toBe(1);
  });

  it('is over with the run, and never begins with a limit of 0', () => {
    const ended = watched();
    ended.limit.end();
    ended.clock.advance(1000);
    const unlimited = watched(0);
    unlimited.clock.advance(1e9);
    expect([ended.state.timeouts, unlimited.state.timeouts]).toEqual([0, 0]);
  });

  it('sets no timer for a run while that of an earlier one is set, and still gives every run its whole time', () => {
    const { clock, state, limit, sink } = watched();
    const after = vi.spyOn(clock, 'after');
    for (let run = 0; run < 90; run += 1) {
      limit.end();
      clock.advance(1);
      limit.begin(sink);
    }
    expect(after).not.toHaveBeenCalled();
    clock.advance(99);
    expect([state.timeouts, after.mock.calls.map(([ms]) => ms)]).toEqual([0, [90]]);
    clock.advance(1);
    expect(state.timeouts).toBe(1);
    limit.begin(sink);
    clock.advance(100);
    expect(state.timeouts).toBe(2);
  });

  it('is not put off by callers that leave while the worker hangs', () => {
    const { clock, state, limit } = watched();
    for (let ms = 0; ms < 100; ms += 10) {
      limit.release(`caller ${ms}`);
      clock.advance(10);
    }
    expect(state.timeouts).toBe(1);
  });
});
