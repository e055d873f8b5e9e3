import { getEventListeners } from 'node:events';
import { ManualClock, MarlineError, type ErrorCode } from '#libs/common';
import { describe, expect, it } from 'vitest';
import { Batcher, type BatcherOptions } from './batcher.js';
import type { Standing } from './batching-policy.js';
import type { AnswerBounds } from './pending-answer.js';

/** A batcher with `idle` fake workers; batches are kept as lists of items, drops as `item:code`. */
function setUp({ workers = 0, ...overrides }: Partial<BatcherOptions<number>> & { workers?: number } = {}) {
  const clock = new ManualClock();
  const seen = { idle: workers, batches: [] as number[][], delays: [] as number[], dropped: [] as string[] };
  const batcher = new Batcher<number>({
    batchSize: () => 1,
    maxBatchDelayMs: 0,
    queueSize: 100,
    clock,
    idle: () => seen.idle,
    ready: () => Math.max(1, workers),
    dispatch: (batch, delayedMs) => {
      seen.idle--;
      seen.delays.push(delayedMs);
      seen.batches.push(batch.map((entry) => entry.item));
    },
    full: () => new MarlineError('QUEUE_FULL'),
    overloaded: (expectedMs) => new MarlineError('OVERLOADED', { expectedMs }),
    ...overrides,
  });
  const submit = (item: number, bounds: AnswerBounds = {}, standing: Standing = {}) =>
    batcher.submit(item, bounds, (error) => seen.dropped.push(`${item}:${error.code}`), standing);
  const free = (workers = 1) => {
    seen.idle += workers;
    batcher.wake();
  };
  return { clock, batcher, seen, submit, free };
}

const code = (expected: ErrorCode) => expect.objectContaining({ code: expected });

describe('Batcher without a delay', () => {
  it('hands what comes in one turn of the event loop to an idle worker at its end', () => {
    const { clock, submit, seen } = setUp({ workers: 2, batchSize: () => 8 });
    clock.holdTurn();
    submit(1);
    submit(2);
    expect(seen.batches).toEqual([]);
    clock.endTurn();
    expect(seen.batches).toEqual([[1, 2]]);
  });

  it('fills the queue while every worker is busy and gives the next idle one a batch in order', () => {
    const { submit, seen, free, batcher } = setUp({ batchSize: () => 3 });
    for (const item of [1, 2, 3, 4, 5]) submit(item);
    expect(batcher.pending).toBe(5);
    free();
    expect(seen.batches).toEqual([[1, 2, 3]]);
    free();
    expect(seen.batches).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });

  it('puts a request that wants to be alone into a batch of its own', () => {
    const { submit, seen, free } = setUp({ batchSize: () => 4 });
    submit(1);
    submit(2, {}, { alone: true });
    submit(3);
    free(3);
    expect(seen.batches).toEqual([[1], [2], [3]]);
  });

  it('takes a power of two of what waits where the sizes of runs had better not change', () => {
    const { submit, seen, free } = setUp({ batchSize: () => 12, steady: () => true });
    for (let item = 1; item <= 19; item++) submit(item);
    for (let run = 0; run < 4; run++) free();
    expect(seen.batches.map(({ length }) => length)).toEqual([12, 4, 2, 1]);
  });

  it.each<[string, Partial<BatcherOptions<number>>]>([
    ['has learned a size', { adaptive: true }],
    ['has waited for others', { maxBatchDelayMs: 5 }],
    ['goes to workers to which a change is nothing', { steady: () => false }],
  ])('takes all that wait into a batch that %s', (_, options) => {
    const { clock, batcher, submit, seen, free } = setUp({
      batchSize: () => 8,
      steady: () => true,
      ...options,
    });
    for (let run = 0; run < 100; run++) for (const items of [1, 2, 4, 8]) batcher.learn(items, 10);
    for (let item = 1; item <= 7; item++) submit(item);
    free();
    clock.advance(5);
    expect(seen.batches).toEqual([[1, 2, 3, 4, 5, 6, 7]]);
  });

  it('asks for the batch size each time', () => {
    let size = 1;
    const { submit, seen, free } = setUp({ batchSize: () => size });
    for (const item of [1, 2, 3]) submit(item);
    size = 0;
    free();
    size = 2;
    free();
    expect(seen.batches).toEqual([[1], [2, 3]]);
  });

  it('refuses what the queue has no room for, and takes more once it has', () => {
    const { submit, batcher, free } = setUp({ queueSize: 2 });
    submit(1);
    submit(2);
    expect(batcher.remaining).toBe(0);
    expect(() => submit(3)).toThrow(code('QUEUE_FULL'));
    free();
    expect(batcher.remaining).toBe(1);
    submit(4);
    expect(batcher.pending).toBe(2);
  });

  it('serves a worker that becomes idle during the dispatch without growing the stack', () => {
    const order: number[] = [];
    let busy = true;
    const { submit, batcher } = setUp({
      queueSize: 50_000,
      idle: () => (busy ? 0 : 1),
      dispatch: (batch) => {
        order.push(...batch.map((entry) => entry.item));
        batcher.wake();
      },
    });
    for (let item = 0; item < 50_000; item++) submit(item);
    busy = false;
    batcher.wake();
    expect(order).toEqual(Array.from({ length: 50_000 }, (_, item) => item));
  });

  it('remembers when each request was queued', () => {
    const { clock, submit } = setUp();
    clock.advance(7);
    expect(submit(1).queuedAt).toBe(7);
  });
});

describe('Batcher with a delay', () => {
  it('starts the delay when a worker could take the first request, not when it arrived', () => {
    const { clock, submit, seen, free } = setUp({ batchSize: () => 4, maxBatchDelayMs: 100 });
    submit(1);
    clock.advance(500);
    free();
    clock.advance(99);
    submit(2);
    expect(seen.batches).toEqual([]);
    clock.advance(1);
    expect(seen.batches).toEqual([[1, 2]]);
    expect(seen.delays).toEqual([100]);
  });

  it('sends a full batch at once and gives the rest a delay of its own', () => {
    const { clock, submit, seen } = setUp({ workers: 2, batchSize: () => 2, maxBatchDelayMs: 100 });
    submit(1);
    clock.advance(60);
    submit(2);
    submit(3);
    expect(seen.batches).toEqual([[1, 2]]);
    clock.advance(99);
    expect(seen.batches).toHaveLength(1);
    clock.advance(1);
    expect(seen.batches).toEqual([[1, 2], [3]]);
  });

  it('never waits with a batch size of 1', () => {
    const { submit, seen } = setUp({ workers: 1, maxBatchDelayMs: 100 });
    submit(1);
    expect(seen.batches).toEqual([[1]]);
  });

  it('does not count the batch that an idle worker is filling against the queue', () => {
    const { submit, seen, batcher } = setUp({
      workers: 1,
      batchSize: () => 4,
      maxBatchDelayMs: 100,
      queueSize: 2,
    });
    for (const item of [1, 2, 3]) submit(item);
    expect(batcher.remaining).toBe(2);
    submit(4);
    expect(seen.batches).toEqual([[1, 2, 3, 4]]);
  });

  it('waits again for the next worker when the one that was idle is gone', () => {
    const { clock, submit, seen, free } = setUp({ workers: 1, batchSize: () => 2, maxBatchDelayMs: 10 });
    submit(1);
    seen.idle = 0;
    clock.advance(10);
    expect(seen.batches).toEqual([]);
    free();
    clock.advance(10);
    expect(seen.batches).toEqual([[1]]);
  });

  it('forgets the delay of a request that left', () => {
    const { clock, submit, seen } = setUp({ workers: 1, batchSize: () => 2, maxBatchDelayMs: 100 });
    const caller = new AbortController();
    submit(1, { signal: caller.signal });
    clock.advance(60);
    caller.abort();
    clock.advance(30);
    submit(2);
    clock.advance(99);
    expect(seen.batches).toEqual([]);
    clock.advance(1);
    expect(seen.batches).toEqual([[2]]);
  });
});

describe('Batcher that knows how long runs take', () => {
  it.each([
    ['at once when the deadline leaves no time', 20, 0],
    ['as late as the deadline allows', 50, 50 - 1 - 1.2 * 20],
  ])('closes a batch that waits %s', (_, deadlineAt, closes) => {
    const { clock, submit, seen, batcher } = setUp({ workers: 1, batchSize: () => 4, maxBatchDelayMs: 100 });
    for (let run = 0; run < 5; run++) batcher.learn(1, 20);
    submit(1, { deadlineAt });
    clock.advance(closes - 0.1);
    expect(seen.batches).toEqual(closes > 0 ? [] : [[1]]);
    clock.advance(0.2);
    expect(seen.batches).toEqual([[1]]);
  });

  it('refuses a request that would be late, and says when it would have been answered', () => {
    const { submit, batcher } = setUp();
    for (let run = 0; run < 5; run++) batcher.learn(1, 20);
    submit(1);
    submit(2);
    // Half a run that is under way, the two that wait, and its own; a fifth more, because that is an average.
    expect(() => submit(3, { deadlineAt: 83, deadlineMs: 83 })).toThrow(
      expect.objectContaining({ code: 'OVERLOADED', details: { expectedMs: 70 } }),
    );
    submit(4, { deadlineAt: 85 });
    expect(batcher.pending).toBe(3);
  });

  it('leaves more room where runs are less alike', () => {
    const { submit, batcher } = setUp();
    for (let run = 0; run < 300; run++) batcher.learn(1, run % 2 === 0 ? 10 : 30);
    submit(1);
    submit(2);
    expect(() => submit(3, { deadlineAt: 100 })).toThrow(code('OVERLOADED'));
    submit(4, { deadlineAt: 160 });
    expect(batcher.pending).toBe(3);
  });

  it('counts only those who go before it', () => {
    const { submit, batcher } = setUp();
    for (let run = 0; run < 5; run++) batcher.learn(1, 20);
    for (const item of [1, 2, 3, 4]) submit(item);
    expect(() => submit(5, { deadlineAt: 37 })).toThrow(code('OVERLOADED'));
    submit(6, { deadlineAt: 37 }, { priority: 'high' });
    expect(batcher.pending).toBe(5);
  });

  it('gives an idle worker even what looks hopeless, so that a wrong prediction is put right', () => {
    const { submit, seen, batcher } = setUp({ workers: 1 });
    for (let run = 0; run < 5; run++) batcher.learn(1, 1000);
    submit(1, { deadlineAt: 10 });
    expect(seen.batches).toEqual([[1]]);
  });

  it('spends no run on a request that would end behind its deadline', () => {
    const { clock, submit, seen, batcher, free } = setUp({ workers: 2 });
    seen.idle = 0;
    submit(1, { deadlineAt: 30 });
    submit(2, { deadlineAt: 300 });
    for (let run = 0; run < 5; run++) batcher.learn(1, 20);
    clock.advance(15);
    free();
    expect(seen.dropped).toEqual(['1:DEADLINE_EXCEEDED']);
    expect(seen.batches).toEqual([[2]]);
  });

  it('makes a batch no larger than its tightest deadline allows', () => {
    const { submit, seen, batcher, free } = setUp({ batchSize: () => 8 });
    for (let run = 0; run < 5; run++) batcher.learn(1, 10);
    for (const item of [1, 2, 3, 4]) submit(item, { deadlineAt: 55 });
    free();
    expect(seen.batches).toEqual([[1, 2, 3, 4]]);
    submit(5, { deadlineAt: 35 });
    for (const item of [6, 7, 8]) submit(item);
    free();
    expect(seen.batches.at(-1)).toEqual([5, 6, 7]);
  });

  it('gives a worker several batches of a very small model at once, and a slow one its own alone', () => {
    const { submit, seen, batcher, free } = setUp({ batchSize: () => 2, handsOver: true });
    for (let run = 0; run < 5; run++) batcher.learn(2, 0.02);
    for (let item = 0; item < 70; item++) submit(item);
    free();
    expect(seen.batches[0]).toHaveLength(50);
    for (let run = 0; run < 200; run++) batcher.learn(2, 4);
    free();
    expect(seen.batches[1]).toHaveLength(2);
  });

  it('gives a worker one batch at a time where a hook might hang', () => {
    const { submit, seen, batcher, free } = setUp({ batchSize: () => 2 });
    for (let run = 0; run < 5; run++) batcher.learn(2, 0.02);
    for (let item = 0; item < 70; item++) submit(item);
    free();
    expect(seen.batches.map((batch) => batch.length)).toEqual([2]);
  });

  it('spreads much work over idle workers, and gives little work to one', () => {
    const { clock, submit, seen, batcher } = setUp({ workers: 2, batchSize: () => 1, handsOver: true });
    clock.holdTurn();
    for (let run = 0; run < 5; run++) batcher.learn(1, 0.02);
    for (let item = 0; item < 30; item++) submit(item);
    clock.endTurn();
    expect(seen.batches.map((batch) => batch.length)).toEqual([15, 15]);
    seen.idle = 2;
    for (let item = 0; item < 8; item++) submit(item);
    clock.endTurn();
    clock.endTurn();
    expect(seen.batches.slice(2).map((batch) => batch.length)).toEqual([8]);
  });

  it('waits one turn for more when several very small requests came together, and never for a single one', () => {
    const { clock, submit, seen, batcher, free } = setUp({ workers: 1, batchSize: () => 1, handsOver: true });
    clock.holdTurn();
    for (let run = 0; run < 5; run++) batcher.learn(1, 0.02);
    submit(1);
    clock.endTurn();
    expect(seen.batches).toEqual([[1]]);
    free();
    submit(2);
    submit(3);
    clock.endTurn();
    submit(4);
    expect(seen.batches).toEqual([[1]]);
    clock.endTurn();
    expect(seen.batches).toEqual([[1], [2, 3, 4]]);
  });

  it('leaves the little that waits to the worker that is back in a moment, and no longer than that', () => {
    const { clock, submit, seen, batcher } = setUp({ workers: 2, handsOver: true });
    for (let run = 0; run < 5; run++) batcher.learn(1, 0.02);
    submit(1);
    submit(2);
    expect(seen.batches).toEqual([[1]]);
    clock.advance(0.2);
    expect(seen.batches).toEqual([[1], [2]]);
    submit(3);
    seen.idle++;
    submit(4);
    batcher.wake();
    expect(seen.batches).toEqual([[1], [2]]);
    clock.advance(0.2);
    expect(seen.batches).toEqual([[1], [2], [3, 4]]);
  });

  it('uses every worker at once for a model whose runs are worth waking one', () => {
    const { submit, seen, batcher } = setUp({ workers: 2 });
    for (let run = 0; run < 5; run++) batcher.learn(1, 1);
    submit(1);
    submit(2);
    expect(seen.batches).toEqual([[1], [2]]);
  });

  it('learns the size of batches when it is adaptive: larger where that pays, 1 where it does not', () => {
    const sizeAfter = (durationOf: (items: number) => number) => {
      const { submit, seen, batcher, free } = setUp({ adaptive: true, batchSize: () => 32, queueSize: 1000 });
      for (let run = 0; run < 200; run++) {
        while (batcher.pending < 100) submit(0);
        free();
        const items = seen.batches.at(-1)?.length ?? 0;
        batcher.learn(items, durationOf(items));
      }
      return seen.batches.at(-1)?.length;
    };
    expect(sizeAfter((items) => 5 + items)).toBe(32);
    expect(sizeAfter((items) => 3 * items)).toBe(1);
  });
});

describe('Batcher and requests that are not wanted any more', () => {
  it.each([
    ['head', 1, [2, 3]],
    ['middle', 2, [1, 3]],
    ['tail', 3, [1, 2]],
  ])('answers a deadline at the %s at its time and serves the others', (_, late, rest) => {
    const { clock, submit, seen, free } = setUp({ batchSize: () => 3 });
    for (const item of [1, 2, 3]) submit(item, { deadlineAt: item === late ? 50 : 500, deadlineMs: 50 });
    clock.advance(49);
    expect(seen.dropped).toEqual([]);
    clock.advance(1);
    expect(seen.dropped).toEqual([`${late}:DEADLINE_EXCEEDED`]);
    free();
    expect(seen.batches).toEqual([rest]);
  });

  it('answers each of several deadlines at its own time, whatever their order', () => {
    const { clock, submit, seen, batcher } = setUp();
    for (const [item, deadlineAt] of [
      [1, 30],
      [2, 10],
      [3, 20],
      [4, 10],
    ] as const)
      submit(item, { deadlineAt });
    clock.advance(10);
    expect(seen.dropped).toEqual(['2:DEADLINE_EXCEEDED', '4:DEADLINE_EXCEEDED']);
    clock.advance(10);
    expect(seen.dropped.at(-1)).toBe('3:DEADLINE_EXCEEDED');
    clock.advance(10);
    expect(seen.dropped.at(-1)).toBe('1:DEADLINE_EXCEEDED');
    expect(batcher.pending).toBe(0);
  });

  it('gives a worker no request whose deadline passed while timers could not fire', () => {
    let now = 0;
    const { submit, seen, free } = setUp({
      batchSize: () => 2,
      clock: { now: () => now, after: () => () => {}, soon: (callback) => callback() },
    });
    submit(1, { deadlineAt: 5, deadlineMs: 5 });
    submit(2);
    submit(3);
    now = 5;
    free();
    expect(seen.batches).toEqual([[2, 3]]);
    expect(seen.dropped).toEqual(['1:DEADLINE_EXCEEDED']);
  });

  it('refuses a request that is late or cancelled already', () => {
    const { clock, submit, seen } = setUp({ workers: 1 });
    clock.advance(10);
    expect(() => submit(1, { deadlineAt: 10, deadlineMs: 0 })).toThrow(code('DEADLINE_EXCEEDED'));
    expect(() => submit(2, { signal: AbortSignal.abort() })).toThrow(code('REQUEST_CANCELLED'));
    expect(seen.batches).toEqual([]);
  });

  it('drops a cancelled request at once and leaves no listener behind', () => {
    const { submit, seen, batcher, free } = setUp({ batchSize: () => 3 });
    const caller = new AbortController();
    submit(1);
    submit(2, { signal: caller.signal });
    submit(3);
    caller.abort();
    expect(seen.dropped).toEqual(['2:REQUEST_CANCELLED']);
    expect(batcher.pending).toBe(2);
    expect(getEventListeners(caller.signal, 'abort')).toHaveLength(0);
    free();
    expect(seen.batches).toEqual([[1, 3]]);
  });

  it('watches neither signal nor deadline of a request that was dispatched', () => {
    const { clock, submit, seen } = setUp({ workers: 1 });
    const caller = new AbortController();
    submit(1, { signal: caller.signal, deadlineAt: 5 });
    expect(getEventListeners(caller.signal, 'abort')).toHaveLength(0);
    caller.abort();
    clock.advance(10);
    expect(seen.dropped).toEqual([]);
  });
});

describe('Batcher at its end', () => {
  it('rejects all that waits and takes new requests', () => {
    const { submit, batcher, seen, free } = setUp();
    submit(1);
    submit(2);
    batcher.rejectAll(new MarlineError('NO_WORKER'));
    expect(seen.dropped).toEqual(['1:NO_WORKER', '2:NO_WORKER']);
    submit(3);
    free();
    expect(seen.batches).toEqual([[3]]);
  });
});

describe('Batcher under random traffic', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'loses, repeats and reorders nothing (seed %i)',
    (seed) => {
      const random = randomFrom(seed);
      const batchSize = 1 + Math.floor(random() * 5);
      const queueSize = 1 + Math.floor(random() * 20);
      const { clock, submit, seen, free, batcher } = setUp({
        batchSize: () => batchSize,
        maxBatchDelayMs: random() < 0.5 ? 0 : 20,
        queueSize,
        workers: Math.floor(random() * 3),
      });
      const callers = new Map<number, AbortController>();
      const accepted = new Set<number>();
      for (let item = 0; item < 400; item++) {
        const caller = new AbortController();
        const deadlineAt = random() < 0.3 ? clock.now() + 1 + random() * 50 : undefined;
        try {
          submit(item, { signal: caller.signal, deadlineAt });
          accepted.add(item);
          callers.set(item, caller);
        } catch (error) {
          expect(error).toEqual(code('QUEUE_FULL'));
          expect(batcher.pending).toBeGreaterThanOrEqual(queueSize);
        }
        if (random() < 0.4) clock.advance(random() * 15);
        if (random() < 0.35) free();
        if (random() < 0.1) callers.get(Math.floor(random() * item))?.abort();
      }
      while (batcher.pending > 0) {
        free();
        clock.advance(20);
      }
      const served = seen.batches.flat();
      const dropped = seen.dropped.map((text) => Number.parseInt(text, 10));
      expect([...served, ...dropped].toSorted((a, b) => a - b)).toEqual([...accepted]);
      expect(served).toEqual(served.toSorted((a, b) => a - b));
      expect(Math.max(...seen.batches.map((batch) => batch.length))).toBeLessThanOrEqual(batchSize);
      for (const { signal } of callers.values()) expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    },
  );
});

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
