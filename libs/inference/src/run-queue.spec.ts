import {
  InferenceObserver,
  ManualClock,
  type BatchItem,
  type BatchSink,
  type ItemResult,
  type ModelRef,
  type RequestTimings,
} from '#libs/common';
import type { WorkerPool } from '#libs/pool';
import { expect, it } from 'vitest';
import { PendingAnswer } from './pending-answer.js';
import { RunQueue } from './run-queue.js';
import { sequenceHeaders } from './sequence-headers.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

const ANSWER: ItemResult = {
  status: 200,
  reason: '',
  headers: [],
  output: { kind: 'text', text: '{}', encoding: 'json' },
};

/** A queue whose one worker does what the test says. */
function setUp() {
  const clock = new ManualClock();
  const timings = new Map<string, RequestTimings>();
  const batches: { readonly ids: readonly string[]; readonly sink: BatchSink }[] = [];
  class Timings extends InferenceObserver {
    override requestFinished(_ref: ModelRef, id: string, told: RequestTimings): void {
      timings.set(id, told);
    }
  }
  const pool = {
    room: 0,
    readyCount: 1,
    run(items: readonly BatchItem[], sink: BatchSink) {
      pool.room = 0;
      batches.push({ ids: items.map(({ id }) => id), sink });
      return true;
    },
    cancel() {},
  };
  const queue = new RunQueue(pool as unknown as WorkerPool<WorkerModel, WorkerReady>, {
    ref: { model: 'm', version: '1.0' },
    clock,
    observer: new Timings(),
    batchSize: () => 1,
    adaptive: false,
    steady: () => false,
    handsOver: true,
    maxBatchDelayMs: 0,
    queueSize: 100,
    tickets: false,
    tellsHooks: true,
    canServe: () => true,
    sequenceHeaders: sequenceHeaders({
      sequenceIdHeader: 'id',
      sequenceStartHeader: 's',
      sequenceEndHeader: 'e',
    }),
    sequencesPerWorker: () => 0,
  });
  const submit = (id: string) =>
    queue.submit({ id, input: { kind: 'tensors', tensors: {} } }, new PendingAnswer(clock, () => {}), {});
  const free = () => {
    pool.room = 1;
    queue.wake();
  };
  return { clock, timings, batches, submit, free };
}

it('tells of each request its own run where several runs were handed over together', () => {
  const { clock, timings, batches, submit, free } = setUp();
  submit('first');
  free();
  for (let run = 0; run < 5; run++) batches[0]?.sink.ran(1, 0.1);
  for (const id of ['a', 'b', 'c']) submit(id);
  free();
  const [, group] = batches;
  expect(group?.ids).toEqual(['a', 'b', 'c']);
  clock.advance(1);
  for (const id of ['a', 'b', 'c']) {
    group?.sink.result(id, ANSWER);
    group?.sink.ran(1, 0.25);
  }
  expect([...timings].map(([id, { queueMs, runMs, batchSize }]) => [id, queueMs, runMs, batchSize])).toEqual([
    ['a', 0, 1, 1],
    ['b', 0.25, 0.75, 1],
    ['c', 0.5, 0.5, 1],
  ]);
});
