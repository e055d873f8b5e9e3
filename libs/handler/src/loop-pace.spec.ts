import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LoopPace } from './loop-pace.js';

describe('LoopPace', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  it('lets very short runs share a turn', () => {
    const pace = new LoopPace();
    pace.begin();
    vi.advanceTimersByTime(0.4);
    expect(pace.rest()).toBeUndefined();
  });

  it('waits for a turn after half a millisecond, and then begins anew', async () => {
    const pace = new LoopPace();
    pace.begin();
    vi.advanceTimersByTime(0.5);
    let turned = false;
    setImmediate(() => (turned = true));
    await pace.rest();
    expect(turned).toBe(true);
    expect(pace.rest()).toBeUndefined();
  });
});
