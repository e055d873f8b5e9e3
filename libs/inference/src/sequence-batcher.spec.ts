import { getEventListeners } from 'node:events';
import { ManualClock, MarlineError, type ErrorCode } from '#libs/common';
import { describe, expect, it } from 'vitest';
import type { Standing } from './batching-policy.js';
import type { AnswerBounds } from './pending-answer.js';
import { SequenceBatcher, type SequenceBatcherOptions, type SequenceLimits } from './sequence-batcher.js';

const LIMITS: SequenceLimits = { most: 10, queueSize: 10, maxIdleMs: 1000, timeoutMs: 0 };

/** A batcher with fake workers 1, 2, …; batches are kept as `worker:items`, drops as `item:code`. */
function setUp({
  workers = 1,
  ...overrides
}: Partial<SequenceBatcherOptions<string>> & { workers?: number } = {}) {
  const clock = new ManualClock();
  const idle = new Set(Array.from({ length: workers }, (_, index) => index + 1));
  const leaving = new Set<number>();
  const goOn = new Set<string>();
  const seen = { batches: [] as string[], dropped: [] as string[], again: [] as string[] };
  const batcher = new SequenceBatcher<string>({
    batchSize: () => 4,
    maxBatchDelayMs: 0,
    queueSize: 10,
    limits: LIMITS,
    perWorker: () => 10,
    clock,
    idle: () => [...idle].filter((id) => !leaving.has(id)),
    isIdle: (id) => idle.has(id),
    dispatch: (batch, id) => {
      if (!idle.delete(id)) throw new Error(`Worker ${id} is busy.`);
      seen.batches.push(`${id}:${batch.map(({ item }) => item).join(',')}`);
      seen.again.push(...batch.filter(({ again }) => again).map(({ item }) => item));
    },
    goesOn: (item) => goOn.has(item),
    full: () => new MarlineError('QUEUE_FULL'),
    refused: (reason) => new MarlineError('SEQUENCE_REFUSED', { reason }),
    ...overrides,
  });
  const submit = (item: string, standing: Standing = {}, bounds: AnswerBounds = {}) =>
    batcher.submit(item, bounds, (error) => seen.dropped.push(`${item}:${error.code}`), standing);
  /** `a1` is a request of sequence a. */
  const step = (item: string, bounds: AnswerBounds = {}, isLast = false, standing: Standing = {}) =>
    submit(item, { ...standing, step: { sequence: item[0] ?? '', isLast } }, bounds);
  const free = (...ids: number[]) => {
    for (const id of ids) idle.add(id);
    batcher.wake();
  };
  return { clock, batcher, seen, idle, leaving, goOn, submit, step, free };
}

const code = (expected: ErrorCode) => expect.objectContaining({ code: expected });

describe('SequenceBatcher', () => {
  it('keeps a sequence in one worker, and takes its next request after the last answer', () => {
    const { step, seen, free } = setUp({ workers: 2 });
    step('a1');
    step('a2');
    step('b1');
    expect(seen.batches).toEqual(['1:a1', '2:b1']);
    free(2);
    expect(seen.batches).toEqual(['1:a1', '2:b1']);
    free(1);
    expect(seen.batches).toEqual(['1:a1', '2:b1', '1:a2']);
    step('b2');
    free(1);
    step('a3');
    expect(seen.batches).toEqual(['1:a1', '2:b1', '1:a2', '2:b2', '1:a3']);
  });

  it('puts one request of each sequence into a batch, up to its size, and is fair', () => {
    const { clock, step, seen, free } = setUp({ batchSize: () => 2 });
    clock.holdTurn();
    for (const item of ['a1', 'a2', 'b1', 'b2', 'c1']) step(item);
    clock.endTurn();
    free(1);
    free(1);
    expect(seen.batches).toEqual(['1:a1,b1', '1:c1,a2', '1:b2']);
  });

  it('gives a new sequence to the idle worker with the fewest, and none to one that is full or leaves', () => {
    const { step, seen, free, leaving } = setUp({ workers: 2, perWorker: () => 2 });
    step('a1');
    free(1);
    step('b1');
    step('c1');
    expect(seen.batches).toEqual(['1:a1', '2:b1', '1:c1']);
    free(1, 2);
    leaving.add(2);
    step('d1');
    expect(seen.batches).toHaveLength(3);
    step('b2');
    expect(seen.batches).toEqual(['1:a1', '2:b1', '1:c1', '2:b2']);
    leaving.clear();
    free(2);
    expect(seen.batches.at(-1)).toBe('2:d1');
  });

  it('refuses a sequence too many, and one whose queue is full', () => {
    const { step, seen, free, batcher } = setUp({ limits: { ...LIMITS, most: 2, queueSize: 1 } });
    step('a1');
    step('a2');
    expect(() => step('a3')).toThrow(code('SEQUENCE_REFUSED'));
    step('b1');
    step('b2');
    expect(() => step('b3')).toThrow(code('SEQUENCE_REFUSED'));
    expect(() => step('c1')).toThrow(code('SEQUENCE_REFUSED'));
    free(1);
    step('a3');
    expect([seen.batches, batcher.pending]).toEqual([['1:a1', '1:a2,b1'], 2]);
  });

  it('ends a sequence that is quiet for too long, and then takes another', () => {
    const { clock, step, free, batcher } = setUp({ limits: { ...LIMITS, most: 1 } });
    step('a1');
    clock.advance(5000);
    free(1);
    clock.advance(999);
    expect(() => step('b1')).toThrow(code('SEQUENCE_REFUSED'));
    step('a2');
    free(1);
    clock.advance(1000);
    expect(batcher.isHome(1)).toBe(false);
    step('b1');
  });

  it('ends a sequence that is too old: what runs is finished, what waits is refused', () => {
    const { clock, step, seen, free, batcher } = setUp({ limits: { ...LIMITS, timeoutMs: 300 } });
    step('a1');
    step('a2');
    clock.advance(300);
    expect(seen.dropped).toEqual(['a2:SEQUENCE_REFUSED']);
    step('a3');
    free(1);
    expect(seen.batches).toEqual(['1:a1', '1:a3']);
    free(1);
    clock.advance(300);
    expect(batcher.isHome(1)).toBe(false);
  });

  it('ends a sequence with its last request, or when the handler says so, unless more of it waits', () => {
    const { step, free, batcher, seen } = setUp();
    step('a1', {}, true);
    step('a2');
    free(1);
    expect(batcher.isHome(1)).toBe(true);
    batcher.close(['a', 'unknown'], 1);
    free(1);
    expect(batcher.isHome(1)).toBe(false);
    step('b1');
    free(1);
    batcher.close(['b'], 2);
    expect(batcher.isHome(1)).toBe(true);
    batcher.close(['b'], 1);
    expect([batcher.isHome(1), seen.dropped]).toEqual([false, []]);
  });

  it('ends sequences with their worker, and begins them anew elsewhere', () => {
    const { step, seen, free, batcher } = setUp({ workers: 2 });
    step('a1');
    step('a2');
    batcher.lose(1, new MarlineError('WORKER_DIED'));
    expect(seen.dropped).toEqual(['a2:WORKER_DIED']);
    step('a3');
    expect(seen.batches).toEqual(['1:a1', '2:a3']);
    free(1, 2);
    step('a4');
    expect(seen.batches.at(-1)).toBe('2:a4');
  });

  it('tells when a worker that leaves is no longer needed', async () => {
    const { clock, step, free, batcher, leaving } = setUp();
    expect(batcher.whenLeft(1)).toBeUndefined();
    step('a1');
    leaving.add(1);
    let left = false;
    const waiting = batcher.whenLeft(1)?.then(() => (left = true));
    free(1);
    await Promise.resolve();
    expect(left).toBe(false);
    clock.advance(1000);
    await waiting;
    expect(left).toBe(true);
  });

  it('waits with a delay only for sequences of the worker that have no request yet', () => {
    const { clock, step, seen, free } = setUp({ maxBatchDelayMs: 50 });
    step('a1');
    expect(seen.batches).toEqual(['1:a1']);
    step('b1');
    free(1);
    expect(seen.batches).toEqual(['1:a1']);
    step('a2');
    expect(seen.batches).toEqual(['1:a1', '1:b1,a2']);
    free(1);
    step('a3');
    clock.advance(49);
    expect(seen.batches).toHaveLength(2);
    clock.advance(1);
    expect(seen.batches.at(-1)).toBe('1:a3');
    free(1);
    step('b2', { deadlineAt: clock.now() + 20, deadlineMs: 20 });
    expect(seen.batches.at(-1)).toBe('1:b2');
  });

  it('drops what is cancelled or late, and goes on with the next of the sequence', () => {
    const { clock, step, seen, free, batcher } = setUp();
    const caller = new AbortController();
    step('a1');
    step('a2', { signal: caller.signal });
    step('a3', { deadlineAt: 10, deadlineMs: 10 });
    step('a4');
    step('b1', { signal: caller.signal });
    caller.abort();
    clock.advance(10);
    expect(seen.dropped).toEqual(['a2:REQUEST_CANCELLED', 'b1:REQUEST_CANCELLED', 'a3:DEADLINE_EXCEEDED']);
    free(1);
    expect([seen.batches, batcher.pending]).toEqual([['1:a1', '1:a4'], 0]);
    expect(getEventListeners(caller.signal, 'abort')).toEqual([]);
    expect(() => step('c1', { signal: caller.signal })).toThrow(code('REQUEST_CANCELLED'));
    expect(() => step('c1', { deadlineAt: 10, deadlineMs: 1 })).toThrow(code('DEADLINE_EXCEEDED'));
  });

  it('takes what shares its batch with nobody between two batches, also when every sequence is taken', () => {
    const { step, submit, seen, free, batcher } = setUp({
      perWorker: () => 1,
      limits: { ...LIMITS, most: 1 },
    });
    step('a1');
    submit('describe', { alone: true });
    step('a2');
    free(1);
    free(1);
    free(1);
    expect([seen.batches, batcher.isHome(1)]).toEqual([['1:a1', '1:describe', '1:a2'], true]);
  });

  it('serves urgent requests first, and tenants by turns', () => {
    const { step, seen, free } = setUp({ batchSize: () => 1 });
    step('a1');
    step('b1', {}, false, { tenant: 'x' });
    step('c1', {}, false, { tenant: 'x' });
    step('d1', {}, false, { tenant: 'y' });
    step('e1', {}, false, { priority: 'high' });
    for (let count = 0; count < 4; count++) free(1);
    expect(seen.batches).toEqual(['1:a1', '1:e1', '1:b1', '1:d1', '1:c1']);
  });

  it('fails what waits when nobody will come, and remembers no sequence', () => {
    const { step, seen, free, batcher } = setUp();
    step('a1');
    step('a2');
    step('b1');
    batcher.rejectAll(new MarlineError('NO_WORKER'));
    expect([seen.dropped, batcher.pending]).toEqual([['a2:NO_WORKER', 'b1:NO_WORKER'], 0]);
    free(1);
    expect(batcher.isHome(1)).toBe(false);
  });

  it('tells how long the oldest has waited', () => {
    const { clock, step, batcher } = setUp();
    step('a1');
    clock.advance(5);
    step('a2');
    clock.advance(7);
    expect([batcher.oldestWaitMs, batcher.pending, batcher.remaining]).toEqual([7, 1, 10]);
  });
});

describe('SequenceBatcher with requests that go on', () => {
  it('lets requests join and leave between two batches, and waits for none', () => {
    const { submit, seen, free, goOn } = setUp({
      limits: undefined,
      batchSize: () => 2,
      maxBatchDelayMs: 50,
    });
    goOn.add('long').add('second');
    submit('long');
    submit('second');
    submit('third');
    expect(seen.batches).toEqual(['1:long']);
    free(1);
    expect(seen.batches).toEqual(['1:long', '1:long,second']);
    free(1);
    goOn.delete('second');
    free(1);
    goOn.clear();
    free(1);
    expect(seen.batches).toEqual(['1:long', '1:long,second', '1:long,second', '1:long,third']);
    expect(seen.again).toEqual(['long', 'long', 'second', 'long']);
  });

  it('shares what waits among idle workers', () => {
    const { clock, submit, seen } = setUp({ workers: 2, limits: undefined });
    clock.holdTurn();
    for (const item of ['a', 'b', 'c', 'd']) submit(item);
    clock.endTurn();
    expect(seen.batches).toEqual(['1:a,c', '2:b,d']);
  });

  it('refuses what the queue has no room for', () => {
    const { submit, batcher, free } = setUp({ limits: undefined, queueSize: 1, batchSize: () => 1 });
    submit('a');
    submit('b');
    expect(batcher.remaining).toBe(0);
    expect(() => submit('c')).toThrow(code('QUEUE_FULL'));
    free(1);
    submit('c');
  });

  it('fails those that would go on with the worker, and leaves those that run to it', () => {
    const { submit, seen, goOn, batcher } = setUp({ limits: undefined });
    goOn.add('a');
    submit('a');
    submit('b');
    batcher.lose(1, new MarlineError('WORKER_DIED'));
    expect([seen.dropped, batcher.pending]).toEqual([['a:WORKER_DIED'], 1]);
  });

  it('takes the next request of a sequence when the one before is complete', () => {
    const { step, seen, free, goOn, batcher } = setUp();
    goOn.add('a1');
    step('a1', {}, true);
    step('a2');
    free(1);
    step('b1');
    goOn.clear();
    free(1);
    free(1);
    expect(seen.batches).toEqual(['1:a1', '1:a1', '1:a2,b1']);
    expect(batcher.isHome(1)).toBe(true);
  });

  it('asks a worker alone only when it has nothing that goes on', () => {
    const { submit, seen, free, goOn } = setUp({ limits: undefined });
    goOn.add('a');
    submit('a');
    submit('describe', { alone: true });
    free(1);
    goOn.clear();
    free(1);
    expect(seen.batches).toEqual(['1:a', '1:a', '1:describe']);
  });
});
