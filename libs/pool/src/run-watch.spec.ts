import { describe, expect, it } from 'vitest';
import { ManualClock } from '#libs/common';
import { CollectingSink, textResult } from '../../../test/support/collecting-sink.js';
import { RunWatch } from './run-watch.js';

function watched(limitMs = 100) {
  const clock = new ManualClock();
  const sink = new CollectingSink();
  const state = { timeouts: 0 };
  const watch = new RunWatch(sink, limitMs, clock, () => {
    state.timeouts += 1;
  });
  return { clock, sink, state, watch };
}

describe('RunWatch', () => {
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
    ended.watch.end();
    ended.clock.advance(1000);
    const unlimited = watched(0);
    unlimited.clock.advance(1e9);
    expect([ended.state.timeouts, unlimited.state.timeouts]).toEqual([0, 0]);
  });
});
