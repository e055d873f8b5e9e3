import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Tensors } from '#libs/common';
import { TimedBinding } from './timed-binding.js';

const take = (ms: number) => void vi.advanceTimersByTime(ms);

function timed(run: () => Tensors | Promise<Tensors>): TimedBinding {
  return new TimedBinding({ inputs: [], outputs: [], run });
}

describe('TimedBinding', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    take(1000);
  });
  afterEach(() => void vi.useRealTimers());

  it('tells what the hooks took before the first run and after the last', () => {
    const model = timed(() => (take(30), {}));
    model.begin();
    take(2);
    void model.run({});
    take(100);
    void model.run({});
    take(5);
    expect(model.end()).toEqual({ durationMs: 167, hooks: { preMs: 2, postMs: 5 } });
  });

  it('waits for a model that runs elsewhere, also when it fails', async () => {
    const model = timed(async () => {
      await Promise.resolve();
      take(30);
      throw new Error('no');
    });
    model.begin();
    await expect(model.run({})).rejects.toThrow('no');
    take(5);
    expect(model.end()).toEqual({ durationMs: 35, hooks: { preMs: 0, postMs: 5 } });
  });

  it('counts a run that throws as one', () => {
    const model = timed(() => {
      take(30);
      throw new Error('no');
    });
    model.begin();
    expect(() => model.run({})).toThrow('no');
    expect(model.end().hooks).toEqual({ preMs: 0, postMs: 0 });
  });

  it('takes all for hooks when the model is not asked', () => {
    const model = timed(() => ({}));
    model.begin();
    void model.run({});
    model.end();
    model.begin();
    take(7);
    expect(model.end()).toEqual({ durationMs: 7, hooks: { preMs: 7, postMs: 0 } });
  });
});
