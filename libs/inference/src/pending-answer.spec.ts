import { describe, expect, it } from 'vitest';
import { ManualClock, MarlineError, type ItemResult } from '#libs/common';
import { PendingAnswer, PendingAnswers } from './pending-answer.js';

const text = (value: string): ItemResult => ({
  status: 200,
  reason: '',
  headers: [],
  output: { kind: 'value', value },
});

describe('PendingAnswer', () => {
  it('gives one result and drops what comes later', async () => {
    const pending = new PendingAnswer(new ManualClock());
    pending.result(text('first'));
    pending.error(new MarlineError('WORKER_DIED'));
    expect(await pending.promise).toEqual({ streaming: false, result: text('first') });
  });

  it('answers 504 at the deadline and tells that nobody waits any more', async () => {
    const clock = new ManualClock();
    const pending = new PendingAnswer(clock);
    let abandoned = 0;
    pending.watch({ deadlineAt: 20, deadlineMs: 20 }, () => abandoned++);
    clock.advance(20);
    await expect(pending.promise).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', status: 504 });
    expect(abandoned).toBe(1);
  });

  it('lets a result in time stop the deadline', async () => {
    const clock = new ManualClock();
    const pending = new PendingAnswer(clock);
    let abandoned = 0;
    pending.watch({ deadlineAt: 20, deadlineMs: 20 }, () => abandoned++);
    pending.result(text('in time'));
    clock.advance(100);
    await pending.promise;
    expect(abandoned).toBe(0);
  });

  it('rejects when the caller cancels, also when it had cancelled before', async () => {
    const controller = new AbortController();
    const during = new PendingAnswer(new ManualClock());
    during.watch({ signal: controller.signal }, () => {});
    controller.abort();
    const before = new PendingAnswer(new ManualClock());
    before.watch({ signal: controller.signal }, () => {});
    await expect(during.promise).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });
    await expect(before.promise).rejects.toMatchObject({ code: 'REQUEST_CANCELLED' });
  });

  it('streams chunks at the pace of the reader and ends with the result', async () => {
    const pending = new PendingAnswer(new ManualClock());
    const produced: string[] = [];
    const produce = async () => {
      for (const part of ['a', 'b', 'c']) {
        await pending.chunk(text(part));
        produced.push(part);
      }
      pending.result(text('end'));
    };
    const done = produce();
    const answer = await pending.promise;
    if (!answer.streaming) throw new Error('expected a stream');
    expect(answer.first).toEqual(text('a'));
    expect(produced).toEqual([]);
    const rest = answer.rest[Symbol.asyncIterator]();
    expect(await rest.next()).toEqual({ done: false, value: text('b') });
    expect(produced).toEqual(['a']);
    expect((await rest.next()).value).toEqual(text('c'));
    expect((await rest.next()).value).toEqual(text('end'));
    expect((await rest.next()).done).toBe(true);
    await done;
  });

  it('lets the producer run on when the reader leaves', async () => {
    const pending = new PendingAnswer(new ManualClock());
    const first = pending.chunk(text('a'));
    const answer = await pending.promise;
    if (!answer.streaming) throw new Error('expected a stream');
    const second = first.then(() => pending.chunk(text('b')));
    for await (const chunk of answer.rest) {
      expect(chunk).toEqual(text('b'));
      break;
    }
    await second;
    await pending.chunk(text('c'));
  });

  it('lets the producer run on when the reader leaves before it read anything', async () => {
    const pending = new PendingAnswer(new ManualClock());
    const first = pending.chunk(text('a'));
    const answer = await pending.promise;
    if (!answer.streaming) throw new Error('expected a stream');
    await answer.rest[Symbol.asyncIterator]().return?.();
    await first;
    await pending.chunk(text('b'));
  });

  it('fails the stream when the worker fails after the first chunk', async () => {
    const pending = new PendingAnswer(new ManualClock());
    void pending.chunk(text('a'));
    const answer = await pending.promise;
    if (!answer.streaming) throw new Error('expected a stream');
    pending.error(new MarlineError('WORKER_DIED'));
    await expect(answer.rest[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'WORKER_DIED' });
  });
});

describe('PendingAnswers', () => {
  it('counts those that are added and not deleted, in whatever order they go', () => {
    const clock = new ManualClock();
    const pending = new PendingAnswers();
    const [a, b, c] = [new PendingAnswer(clock), new PendingAnswer(clock), new PendingAnswer(clock)];
    for (const answer of [a, b, c]) pending.add(answer);
    pending.delete(a);
    pending.delete(c);
    expect(pending.size).toBe(1);
    pending.delete(b);
    expect(pending.size).toBe(0);
  });

  it('fails all, also when each leaves as it fails', async () => {
    const clock = new ManualClock();
    const pending = new PendingAnswers();
    const answers = Array.from({ length: 3 }, () => {
      const answer: PendingAnswer = new PendingAnswer(clock, () => pending.delete(answer));
      pending.add(answer);
      return answer;
    });
    pending.fail(new MarlineError('SHUTTING_DOWN'));
    expect(pending.size).toBe(0);
    for (const { promise } of answers) await expect(promise).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  });
});
