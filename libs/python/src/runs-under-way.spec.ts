import { describe, expect, it } from 'vitest';
import { ManualClock, MarlineError } from '#libs/common';
import { CollectingSink, textItem } from '../../../test/support/collecting-sink.js';
import { PythonBatch } from './python-batch.js';
import type { Reply } from './reply-reader.js';
import { RunsUnderWay, type AsyncRuns } from './runs-under-way.js';

const FLOW = { pause: () => {}, resume: () => {} };

function setUp(many?: AsyncRuns) {
  const clock = new ManualClock();
  const sink = new CollectingSink();
  const state = { silences: 0, over: [] as string[] };
  const runs = new RunsUnderWay(many, clock, () => (state.silences += 1));
  const begin = (...ids: string[]) => {
    const batch = new PythonBatch(
      ids.map((id) => textItem(id, id)),
      sink,
      FLOW,
      clock.now(),
    );
    void runs.begin(batch).then(() => state.over.push(ids.join()));
  };
  return { clock, sink, state, runs, begin };
}

function reply(...ids: string[]): Reply {
  const prediction = { contentType: '', status: 200, reason: '', headers: [], body: Buffer.from('ok') };
  return { code: 200, message: '', predictions: ids.map((id) => ({ ...prediction, id })) };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('one run at a time', () => {
  it('is what every reply is about, also one without predictions', async () => {
    const { runs, begin, sink, state } = setUp();
    expect(() => runs.reply(reply('a'))).toThrow('Worker died.');
    begin('a', 'b');
    expect(runs.mostPredictions).toBe(2);
    expect(runs.reply({ ...reply(), code: 503, message: 'Prediction failed' })).toBe(true);
    await turn();
    expect([sink.answer('a'), sink.answer('b'), state.over, runs.size]).toEqual([
      'PREDICTION_FAILED',
      'PREDICTION_FAILED',
      ['a,b'],
      0,
    ]);
  });
});

describe('many runs at a time', () => {
  const many: AsyncRuns = { capacity: 8, silenceLimitMs: 1000 };

  it('end in any order, each by the reply that has its requests', async () => {
    const { runs, begin, sink, state } = setUp(many);
    begin('a', 'b');
    begin('c');
    expect(runs.reply(reply('c'))).toBe(true);
    expect([sink.answer('c'), sink.answer('a')]).toEqual(['ok', undefined]);
    expect(runs.reply({ ...reply('a', 'b'), code: 503, message: 'Prediction failed' })).toBe(true);
    await turn();
    expect([sink.answer('a'), sink.answer('b'), state.over]).toEqual([
      'PREDICTION_FAILED',
      'PREDICTION_FAILED',
      ['c', 'a,b'],
    ]);
  });

  it('leave out what nobody waits for any more, and bound it all the same', () => {
    const { runs, begin } = setUp(many);
    begin('a', 'b');
    runs.reply(reply('a', 'b'));
    expect(runs.reply(reply('a', 'b'))).toBe(false);
    expect(runs.mostPredictions).toBe(2);
  });

  it('are given up one by one while the worker answers others', async () => {
    const { runs, begin, sink, state, clock } = setUp(many);
    begin('lost');
    clock.advance(600);
    begin('a');
    runs.reply(reply('a'));
    clock.advance(399);
    expect(sink.answer('lost')).toBeUndefined();
    clock.advance(1);
    await turn();
    expect([sink.answer('lost'), state]).toEqual(['DEADLINE_EXCEEDED', { silences: 0, over: ['a', 'lost'] }]);
  });

  it('are given up with the worker when it says nothing', () => {
    const { begin, state, clock, sink } = setUp(many);
    begin('a');
    clock.advance(500);
    begin('b');
    clock.advance(500);
    expect([state.silences, sink.answer('a')]).toEqual([1, undefined]);
  });

  it('wait without end where there is no limit', () => {
    const { begin, state, clock } = setUp({ capacity: 8, silenceLimitMs: 0 });
    begin('a');
    clock.advance(1e9);
    expect(state.silences).toBe(0);
  });

  it('all end with the worker', async () => {
    const { runs, begin, sink, state, clock } = setUp(many);
    begin('a');
    begin('b');
    runs.end(new MarlineError('WORKER_DIED'));
    clock.advance(10_000);
    await turn();
    expect([sink.answer('a'), sink.answer('b'), state]).toEqual([
      'WORKER_DIED',
      'WORKER_DIED',
      { silences: 0, over: ['a', 'b'] },
    ]);
  });
});
