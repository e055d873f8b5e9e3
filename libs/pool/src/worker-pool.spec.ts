import { describe, expect, it } from 'vitest';
import { ManualClock, MarlineError } from '#libs/common';
import { CollectingSink, textItem, textResult } from '../../../test/support/collecting-sink.js';
import { FakeWorker } from '../../../test/support/fake-worker.js';
import { WorkerPool, type WorkerPoolOptions } from './worker-pool.js';

const died = new MarlineError('WORKER_DIED');
const broken = new MarlineError('MODEL_INVALID', { reason: 'no such opset' });
/** More than a delay of the back-off with its jitter. */
const withJitter = (seconds: number) => seconds * 1100 + 1;

function setUp(options: Partial<WorkerPoolOptions<string, string>> = {}) {
  const clock = new ManualClock();
  const made: FakeWorker[] = [];
  const states: string[] = [];
  const released: string[] = [];
  const idle = { calls: 0 };
  let lastId = 8999;
  const pool = new WorkerPool<string, string>({
    create: (id, events) => {
      const worker = new FakeWorker(id, events);
      made.push(worker);
      return worker;
    },
    nextId: () => (lastId += 1),
    modelFor: (slot) => `model ${slot}`,
    releaseModel: (model) => released.push(model),
    runTimeoutMs: 1000,
    retryWindowMs: 300_000,
    clock,
    observer: ({ workerId, state }) => states.push(`${workerId} ${state}`),
    onIdle: () => {
      idle.calls += 1;
    },
    ...options,
  });
  const worker = (index: number): FakeWorker => {
    const found = made.at(index);
    if (found === undefined) throw new Error(`Only ${made.length} workers were made.`);
    return found;
  };
  /** Scales up and lets every new worker load. */
  const scaled = async (count: number) => {
    const done = pool.scale(count);
    for (const { state, ready } of made.map((fake) => ({ state: fake.state, ready: () => fake.ready() }))) {
      if (state === 'starting') ready();
    }
    await done;
  };
  return { clock, made, worker, pool, states, released, idle, scaled };
}

/** Lets what promises have been resolved with take effect. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('scaling', () => {
  it('resolves when all workers are ready, each with the model of its slot', async () => {
    const { pool, made, worker, idle } = setUp();
    const done = pool.scale(2);
    expect([pool.target, pool.alive, pool.readyCount, made.length]).toEqual([2, 2, 0, 2]);
    worker(0).ready();
    await turn();
    expect(pool.readyCount).toBe(1);
    worker(1).ready();
    await done;
    expect([pool.readyCount, pool.idleCount, idle.calls]).toEqual([2, 2, 2]);
    expect(pool.workers()).toEqual([
      { id: 9000, slot: 0, startedAt: 1, state: 'idle', pid: 7, model: 'model 0' },
      { id: 9001, slot: 1, startedAt: 1, state: 'idle', pid: 7, model: 'model 1' },
    ]);
  });

  it('passes on what a worker tells when it is ready, before it asks for work', async () => {
    const told: string[] = [];
    const { pool, worker } = setUp({
      onReady: (info) => told.push(info),
      onIdle: () => told.push('idle'),
    });
    const done = pool.scale(1);
    worker(0).ready();
    await done;
    expect(told).toEqual(['info', 'idle']);
  });

  it('rejects with the real error of the first failed start', async () => {
    const { pool, worker } = setUp();
    const done = pool.scale(2);
    worker(1).failStart('permanent', broken);
    await expect(done).rejects.toBe(broken);
    expect([pool.failure, pool.alive]).toEqual([broken, 1]);
  });

  it('loses no running work from 1 to 4 to 1', async () => {
    const { pool, worker, scaled, released } = setUp();
    await scaled(1);
    const sink = new CollectingSink();
    const items = Array.from({ length: 4 }, (_, index) => textItem('x', `item ${index}`));
    expect(pool.run([items[0] ?? textItem('')], sink)).toBe(true);
    await scaled(4);
    for (const item of items.slice(1)) expect(pool.run([item], sink)).toBe(true);
    expect(pool.run([textItem('too much')], sink)).toBe(false);

    let settled = false;
    const down = pool.scale(1).then(() => (settled = true));
    for (const index of [3, 2, 1]) {
      await turn();
      expect([settled, worker(index).state]).toEqual([false, 'stopping']);
      worker(index).answer();
    }
    await down;
    worker(0).answer();
    expect([...sink.results.keys()].toSorted()).toEqual(items.map(({ id }) => id));
    expect([pool.target, pool.readyCount, released]).toEqual([1, 1, ['model 3', 'model 2', 'model 1']]);
  });

  it('gives no work to a worker that is stopping', async () => {
    const { pool, worker, scaled } = setUp();
    await scaled(2);
    const done = pool.scale(1);
    expect(worker(1).state).toBe('stopped');
    expect(pool.run([textItem('a')], new CollectingSink())).toBe(true);
    expect(pool.run([textItem('b')], new CollectingSink())).toBe(false);
    await done;
  });

  it('lets the last of several calls win, and none of them hang', async () => {
    const { pool, worker, made } = setUp();
    const calls = [pool.scale(3), pool.scale(0), pool.scale(2)];
    await turn();
    expect([pool.target, made.filter(({ state }) => state === 'stopped').length]).toEqual([2, 3]);
    worker(3).ready();
    worker(4).ready();
    await Promise.all(calls);
    expect(pool.readyCount).toBe(2);
  });

  it('gives work to the oldest idle worker', async () => {
    const { pool, worker, scaled } = setUp();
    await scaled(2);
    pool.run([textItem('a')], new CollectingSink());
    worker(0).answer();
    await turn();
    pool.run([textItem('b')], new CollectingSink());
    expect([worker(0).state, worker(1).state]).toEqual(['busy', 'idle']);
  });
});

describe('restarting', () => {
  it('does not retry a permanent failure until somebody scales again', async () => {
    const { pool, worker, made, clock, states } = setUp();
    const done = pool.scale(1);
    worker(0).failStart('permanent', broken);
    await expect(done).rejects.toBe(broken);
    clock.advance(1e9);
    expect(made).toHaveLength(1);
    expect(pool.workers()).toMatchObject([{ id: 9000, state: 'failed', error: broken }]);
    const again = pool.scale(1);
    worker(1).ready();
    await again;
    expect([pool.failure, pool.alive]).toEqual([undefined, 1]);
    expect(states).toEqual(['9000 starting', '9000 failed', '9000 starting', '9000 idle']);
  });

  it('retries a transient failure with growing delays, from the first again after a success', async () => {
    const { pool, worker, made, clock } = setUp();
    void pool.scale(1).catch(() => {});
    for (const [failures, seconds] of [1, 1, 2, 3, 5].entries()) {
      worker(-1).failStart('transient', died);
      await turn();
      expect(pool.workers()).toMatchObject([{ id: 9000, state: 'retrying', model: 'model 0', error: died }]);
      expect(pool.alive).toBe(1);
      clock.advance(seconds * 1000 - 1);
      expect(made).toHaveLength(failures + 1);
      clock.advance(withJitter(seconds));
      expect(made).toHaveLength(failures + 2);
    }
    worker(-1).ready();
    await turn();
    expect([pool.readyCount, pool.failure]).toEqual([1, undefined]);
    worker(-1).die(died);
    clock.advance(withJitter(1));
    expect(worker(-1).state).toBe('starting');
  });

  it('gives up when the retry window is over', async () => {
    const { pool, worker, made, clock } = setUp({ retryWindowMs: 1500 });
    void pool.scale(1).catch(() => {});
    for (let start = 1; start <= 3; start += 1) {
      worker(-1).failStart('transient', died);
      await turn();
      clock.advance(withJitter(1));
    }
    clock.advance(1e9);
    expect(made).toHaveLength(3);
    expect([pool.alive, pool.workers()[0]?.state]).toEqual([0, 'failed']);
  });

  it('restarts a worker that dies while idle or busy, and tells a late death only once', async () => {
    const { pool, worker, made, clock, scaled } = setUp();
    await scaled(1);
    const sink = new CollectingSink();
    const item = textItem('a');
    pool.run([item], sink);
    worker(0).die(died);
    worker(0).events.exited(died);
    await turn();
    expect([sink.answer(item.id), pool.readyCount, pool.idleCount]).toEqual(['WORKER_DIED', 0, 0]);
    clock.advance(withJitter(1));
    expect(made).toHaveLength(2);
    worker(0).events.exited(died);
    worker(1).ready();
    await turn();
    expect([pool.idleCount, made.length]).toEqual([1, 2]);
  });

  it('takes a worker for failed that dies right after it was ready', async () => {
    const { pool, worker } = setUp();
    const done = pool.scale(1);
    worker(0).ready();
    worker(0).die(died);
    await expect(done).rejects.toBe(died);
    expect([pool.idleCount, pool.workers()[0]?.state]).toEqual([0, 'retrying']);
  });

  it('tries again when a worker cannot even be made', async () => {
    let fails = true;
    const made: FakeWorker[] = [];
    const { pool, clock } = setUp({
      create: (id, events) => {
        if (fails) throw new Error('no memory for a thread');
        made.push(new FakeWorker(id, events));
        return made[0] as FakeWorker;
      },
    });
    await expect(pool.scale(1)).rejects.toMatchObject({ details: { reason: 'no memory for a thread' } });
    fails = false;
    clock.advance(withJitter(1));
    made[0]?.ready();
    await turn();
    expect(pool.readyCount).toBe(1);
  });
});

describe('a worker that something still needs', () => {
  function needed() {
    let release = () => {};
    const free = new Promise<void>((resolve) => (release = resolve));
    const all = setUp({ mayStop: (id) => (id === 9001 ? free : undefined) });
    return { ...all, release };
  }

  it('stops when nothing does any more, and takes what names it until then', async () => {
    const { pool, worker, scaled, states, idle, release } = needed();
    await scaled(2);
    let isDone = false;
    const done = pool.scale(1).then(() => (isDone = true));
    await turn();
    expect([pool.idleWorkers(), pool.isIdle(9001), isDone]).toEqual([[9000], true, false]);
    const sink = new CollectingSink();
    expect(pool.run([textItem('a', 'a')], sink, 9001)).toBe(true);
    expect(pool.run([textItem('b', 'b')], sink)).toBe(true);
    expect([worker(0).running, worker(1).running]).toEqual([['b'], ['a']]);
    const { calls } = idle;
    worker(1).answer();
    await turn();
    expect([sink.answer('a'), idle.calls, states.includes('9001 stopping')]).toEqual([
      'ok',
      calls + 1,
      false,
    ]);
    release();
    await done;
    expect(states.slice(-2)).toEqual(['9001 stopping', '9001 stopped']);
  });

  it('is not replaced when it dies', async () => {
    const { pool, worker, scaled, made, states, clock, release } = needed();
    await scaled(2);
    const done = pool.scale(1);
    worker(1).die(died);
    release();
    await done;
    clock.advance(withJitter(10));
    expect([made.length, states.at(-1)]).toEqual([2, '9001 stopped']);
  });

  it('stops all the same when the pool may not take longer', async () => {
    const { pool, worker, scaled, clock } = needed();
    await scaled(2);
    const sink = new CollectingSink();
    pool.run([textItem('a', 'a')], sink, 9001);
    const closed = pool.close(500);
    await turn();
    expect([worker(0).state, worker(1).state]).toEqual(['stopped', 'busy']);
    clock.advance(500);
    expect([sink.answer('a'), worker(1).state]).toEqual(['SHUTTING_DOWN', 'quarantined']);
    worker(1).leave();
    await turn();
    void closed;
  });
});

describe('a run', () => {
  it('that does not answer in time fails and its worker is replaced at once, without waiting for it', async () => {
    const { pool, worker, made, clock, scaled, states } = setUp();
    await scaled(1);
    const sink = new CollectingSink();
    const item = textItem('a');
    pool.run([item], sink);
    clock.advance(1000);
    expect([sink.answer(item.id), worker(0).state, made.length]).toEqual(['WORKER_DIED', 'quarantined', 2]);
    worker(1).ready();
    await turn();
    expect(pool.run([textItem('b')], sink)).toBe(true);
    worker(0).leave();
    await turn();
    expect(worker(1).state).toBe('busy');
    expect(states).toEqual(['9000 starting', '9000 idle', '9000 quarantined', '9000 starting', '9000 idle']);
    expect(worker(1).model).toBe('model 0');
  });

  it('may take longer than the limit as long as replies come', async () => {
    const { pool, worker, clock, scaled } = setUp();
    await scaled(1);
    const sink = new CollectingSink();
    pool.run([textItem('a')], sink);
    for (let i = 0; i < 5; i += 1) {
      clock.advance(900);
      await worker(0).sink?.chunk('a', textResult('chunk'));
    }
    worker(0).answer();
    expect(worker(0).state).toBe('idle');
  });

  it('goes to the worker with least to do where workers take several, and not to a full one', async () => {
    const fakes: FakeWorker[] = [];
    const { pool, idle, clock } = setUp({
      create: (id, events) => (fakes[id - 9000] = new FakeWorker(id, events, 2)),
    });
    const ready = pool.scale(2);
    for (const fake of fakes) fake.ready();
    await ready;
    const sink = new CollectingSink();
    const items = ['a', 'b', 'c', 'd'].map((id) => textItem(id, id));
    expect([pool.room, pool.idleCount]).toEqual([4, 2]);
    for (const item of items) expect(pool.run([item], sink)).toBe(true);
    expect(pool.run([textItem('e')], sink)).toBe(false);
    expect(fakes.map(({ running }) => running)).toEqual([
      ['a', 'c'],
      ['b', 'd'],
    ]);
    expect([pool.room, pool.workers().map(({ state }) => state)]).toEqual([0, ['busy', 'busy']]);
    // Their time is their own affair.
    clock.advance(100_000);
    const calls = idle.calls;
    fakes[1]?.answer('first');
    await turn();
    expect([sink.answer('b'), pool.room, pool.idleCount, idle.calls]).toEqual(['first', 1, 0, calls + 1]);
    fakes[1]?.die(died);
    await turn();
    expect([sink.answer('d'), sink.answer('a'), pool.room]).toEqual(['WORKER_DIED', undefined, 0]);
    const closed = pool.close();
    fakes[0]?.answer();
    fakes[0]?.answer();
    await closed;
    expect([sink.answer('a'), sink.answer('c')]).toEqual(['ok', 'ok']);
  });

  it('goes to the worker that it names, and to no other', async () => {
    const { pool, worker, scaled } = setUp();
    await scaled(2);
    const sink = new CollectingSink();
    expect([pool.idleWorkers(), pool.run([textItem('a', 'a')], sink, 9001)]).toEqual([[9000, 9001], true]);
    expect([worker(0).running, worker(1).running, pool.idleWorkers()]).toEqual([[], ['a'], [9000]]);
    expect([pool.isIdle(9001), pool.run([textItem('b', 'b')], sink, 9001)]).toEqual([false, false]);
    expect([pool.isIdle(1), pool.run([textItem('b', 'b')], sink, 1)]).toEqual([false, false]);
    worker(1).answer();
    await turn();
    expect([sink.answer('a'), pool.isIdle(9001)]).toEqual(['ok', true]);
  });

  it('can be cancelled, also in a worker that drains', async () => {
    const { pool, worker, scaled } = setUp();
    await scaled(2);
    const [kept, draining] = [textItem('kept'), textItem('draining')];
    pool.run([kept], new CollectingSink());
    pool.run([draining], new CollectingSink());
    const down = pool.scale(1);
    pool.cancel(draining.id);
    expect(worker(1).cancelled).toEqual([draining.id]);
    worker(1).answer();
    await down;
  });

  it('that hangs does not hold up scaling down', async () => {
    const { pool, worker, clock, scaled } = setUp();
    await scaled(1);
    pool.run([textItem('a')], new CollectingSink());
    const down = pool.scale(0);
    clock.advance(1000);
    await down;
    expect([worker(0).state, pool.target]).toEqual(['quarantined', 0]);
  });
});

describe('closing', () => {
  it('answers running batches, refuses new work and waits for quarantined workers', async () => {
    const { pool, worker, clock, scaled } = setUp();
    await scaled(2);
    const sink = new CollectingSink();
    const [hanging, running] = [textItem('hanging'), textItem('running')];
    pool.run([hanging], sink);
    clock.advance(1000);
    pool.run([running], sink);
    let closed = false;
    const done = pool.close().then(() => (closed = true));
    expect(pool.run([textItem('late')], sink)).toBe(false);
    await expect(pool.scale(1)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    worker(1).answer();
    await turn();
    expect([closed, sink.answer(running.id)]).toEqual([false, 'ok']);
    worker(0).leave();
    await done;
    expect(pool.workers()).toEqual([]);
  });

  it('fails a batch that still runs at the limit, and waits until its worker has ended', async () => {
    const { pool, worker, clock, scaled } = setUp();
    await scaled(1);
    const sink = new CollectingSink();
    const running = textItem('running');
    pool.run([running], sink);
    let closed = false;
    const done = pool.close(500).then(() => (closed = true));
    clock.advance(500);
    await turn();
    expect([closed, sink.answer(running.id)]).toEqual([false, 'SHUTTING_DOWN']);
    worker(0).leave();
    await done;
  });

  it('ends a start that is under way and a wait for the next one', async () => {
    const { pool, worker, made, clock } = setUp();
    const scaling = pool.scale(2);
    worker(0).failStart('transient', died);
    await expect(scaling).rejects.toBe(died);
    await pool.close();
    clock.advance(1e6);
    expect(made.map(({ state }) => state)).toEqual(['stopped', 'stopped']);
  });
});
