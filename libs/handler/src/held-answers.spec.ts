import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { BatchSink, ItemResult } from '#libs/common';
import { MarlineError } from '#libs/common';
import { HeldAnswers } from './held-answers.js';

const answer: ItemResult = { status: 200, reason: '', headers: [], output: { kind: 'value', value: 1 } };

function setUp() {
  const told: string[] = [];
  const sink: BatchSink = {
    chunk: async (id) => void told.push(`chunk ${id}`),
    result: (id) => void told.push(`result ${id}`),
    error: (id, { code }) => void told.push(`error ${id} ${code}`),
    ran: (items, durationMs) => void told.push(`ran ${items} ${durationMs}`),
  };
  return { told, answers: new HeldAnswers(sink) };
}

describe('HeldAnswers', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  it('gives the answers of short runs together and in order', () => {
    const { told, answers } = setUp();
    answers.result('a', answer);
    answers.ran(1, 0.01);
    answers.error('b', new MarlineError('INTERNAL'));
    answers.ran(1, 0.02);
    expect(told).toEqual([]);
    answers.release();
    expect(told).toEqual(['result a', 'ran 1 0.01', 'error b INTERNAL', 'ran 1 0.02']);
  });

  it('holds an answer no longer than half a millisecond of runs', () => {
    const { told, answers } = setUp();
    answers.result('a', answer);
    vi.advanceTimersByTime(1);
    answers.ran(1, 1);
    expect(told).toEqual(['result a', 'ran 1 1']);
  });

  it('lets a part of an answer through at once, behind what was held', async () => {
    const { told, answers } = setUp();
    answers.result('a', answer);
    await answers.chunk('b', answer);
    expect(told).toEqual(['result a', 'chunk b']);
  });
});
