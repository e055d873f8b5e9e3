import { describe, expect, it } from 'vitest';
import { NativeGate } from './native-gate.js';

function open() {
  const pool = new NativeGate();
  const thread = new NativeGate(pool.memory);
  thread.leave();
  return { pool, thread };
}

function deferred() {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

describe('NativeGate', () => {
  it('is held by the thread until its entry has loaded', () => {
    const pool = new NativeGate();
    const flag = new Int32Array(pool.memory);
    expect(Atomics.load(flag, 0)).not.toBe(0);
    new NativeGate(pool.memory).leave();
    expect(Atomics.load(flag, 0)).toBe(0);
  });

  it('lets the pool end a thread that is in JavaScript, for good', async () => {
    const { pool, thread } = open();
    await thread.hold(() => Promise.resolve());
    expect(pool.tryEnd()).toBe(true);
    expect(pool.tryEnd()).toBe(true);
  });

  it('returns what the call returns, and is free again after one that fails', async () => {
    const { pool, thread } = open();
    expect(thread.hold(() => 41)).toBe(41);
    expect(await thread.hold(() => Promise.resolve(42))).toBe(42);
    await expect(thread.hold(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(() =>
      thread.hold(() => {
        throw new Error('at once');
      }),
    ).toThrow('at once');
    expect(pool.tryEnd()).toBe(true);
  });

  it('keeps the flag until the last of overlapping and nested calls is over', async () => {
    const { thread, pool } = open();
    const flag = new Int32Array(pool.memory);
    const [first, second] = [deferred(), deferred()];
    const one = thread.hold(() => first.promise);
    const two = thread.hold(() => thread.hold(() => second.promise));
    first.resolve();
    await one;
    expect(Atomics.load(flag, 0)).toBe(1);
    second.resolve();
    await two;
    expect(Atomics.load(flag, 0)).toBe(0);
  });

  it('refuses the pool while a native call runs, and again while the thread is about to leave', () => {
    const { pool, thread } = open();
    void thread.hold(() => new Promise(() => {}));
    expect(pool.tryEnd()).toBe(false);
    expect(pool.tryEnd()).toBe(false);
  });
});
