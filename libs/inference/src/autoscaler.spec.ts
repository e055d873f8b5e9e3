import { beforeEach, describe, expect, it } from 'vitest';
import { ManualClock, MarlineError } from '#libs/common';
import { Autoscaler } from './autoscaler.js';

/** Knows how many timers run. */
class CountingClock extends ManualClock {
  readonly #running = new Set<object>();

  get timers(): number {
    return this.#running.size;
  }

  override after(delayMs: number, callback: () => void): () => void {
    const timer = {};
    this.#running.add(timer);
    const cancel = super.after(delayMs, () => {
      this.#running.delete(timer);
      callback();
    });
    return () => {
      this.#running.delete(timer);
      cancel();
    };
  }
}

const QUEUE_MS = 50;
const IDLE_MS = 60_000;

let clock: CountingClock;
let scaler: Autoscaler;
/** The time at which the oldest waiting request came; undefined when none waits. */
let waitingSince: number | undefined;
let workers: { target: number; readyCount: number; idleCount: number };
let asked: number[];
let failures: number[];
let startFails: boolean;

const settle = async () => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
};
const pass = async (ms: number, step = 10) => {
  for (let rest = ms; rest > 0; rest -= step) {
    clock.advance(Math.min(step, rest));
    await settle();
  }
};

beforeEach(() => {
  clock = new CountingClock();
  waitingSince = undefined;
  workers = { target: 1, readyCount: 1, idleCount: 1 };
  asked = [];
  failures = [];
  startFails = false;
  scaler = new Autoscaler({
    clock,
    queue: {
      get pendingRequests() {
        return waitingSince === undefined ? 0 : 1;
      },
      get oldestWaitMs() {
        return waitingSince === undefined ? 0 : clock.now() - waitingSince;
      },
    },
    workers,
    resize: async (count) => {
      asked.push(count);
      const grows = count > workers.target;
      workers.target = count;
      if (grows && startFails) throw new MarlineError('OUT_OF_RESOURCES');
      workers.readyCount = count;
      workers.idleCount = Math.min(workers.idleCount, count);
    },
    scaleUpQueueMs: QUEUE_MS,
    scaleDownIdleMs: IDLE_MS,
    failed: (_error, retryMs) => failures.push(retryMs),
  });
});

/** Every worker is busy and a request waits from now on. */
function overload(): void {
  workers.idleCount = 0;
  waitingSince = clock.now();
  scaler.requested();
}

function rest(): void {
  waitingSince = undefined;
  workers.idleCount = 1;
  scaler.freed();
  workers.idleCount = workers.target;
}

describe('a queue that stays late', () => {
  it('gets one worker after another up to the most, each only when the queue is late again', async () => {
    scaler.start(1, 3);
    overload();
    await pass(2 * QUEUE_MS - 10);
    expect(asked).toEqual([]);
    await pass(20);
    expect(asked).toEqual([2]);
    await pass(QUEUE_MS);
    expect(asked).toEqual([2]);
    await pass(2 * QUEUE_MS);
    expect(asked).toEqual([2, 3]);
    await pass(1000);
    expect(asked).toEqual([2, 3]);
  });

  it('gets none for a burst that is soon over', async () => {
    scaler.start(1, 3);
    overload();
    await pass(QUEUE_MS + 10);
    waitingSince = clock.now();
    await pass(QUEUE_MS - 20);
    rest();
    await pass(1000);
    expect(asked).toEqual([]);
  });

  it('gets none while a worker is idle and a batch only waits to be filled', async () => {
    scaler.start(1, 3);
    overload();
    workers.idleCount = 1;
    await pass(1000);
    expect(asked).toEqual([]);
  });

  it('gets none while a worker that is wanted already is not there yet', async () => {
    workers = Object.assign(workers, { target: 2, readyCount: 1 });
    scaler.start(1, 3);
    overload();
    await pass(1000);
    expect(asked).toEqual([]);
  });

  it('is seen although its requests came while a worker was about to start', async () => {
    workers = Object.assign(workers, { target: 2, readyCount: 1 });
    scaler.start(1, 3);
    overload();
    await pass(200);
    workers.readyCount = 2;
    await pass(200);
    expect(asked).toEqual([3]);
  });
});

describe('a worker that does not start', () => {
  it('is given up, told, and tried again later and later while the queue is late', async () => {
    startFails = true;
    scaler.start(1, 4);
    overload();
    await pass(200);
    expect(asked).toEqual([2, 1]);
    expect(failures).toEqual([1000]);
    await pass(700);
    expect(asked).toHaveLength(2);
    await pass(5000);
    expect(failures).toEqual([1000, 2000, 4000]);
    await pass(600_000, 100);
    expect(failures.at(-1)).toBe(60_000);
    expect(workers.target).toBe(1);
  });

  it('is not held against the model once one has started', async () => {
    startFails = true;
    scaler.start(1, 100);
    overload();
    await pass(200);
    startFails = false;
    await pass(1500);
    startFails = true;
    await pass(500);
    expect(failures).toEqual([1000, 1000]);
  });
});

describe('a worker with nothing to do', () => {
  beforeEach(() => {
    Object.assign(workers, { target: 3, readyCount: 3, idleCount: 3 });
  });

  it('goes after its idle time, one by one, down to the fewest', async () => {
    scaler.start(1, 3);
    await pass(IDLE_MS - 1000, 1000);
    expect(asked).toEqual([]);
    await pass(1000, 1000);
    expect(asked).toEqual([2]);
    await pass(IDLE_MS, 1000);
    expect(asked).toEqual([2, 1]);
    await pass(10 * IDLE_MS, 1000);
    expect(asked).toEqual([2, 1]);
    expect(clock.timers).toBe(0);
  });

  it('stays when all were busy at least once in that time', async () => {
    scaler.start(1, 3);
    for (let minute = 0; minute < 5; minute++) {
      await pass(IDLE_MS / 2, 1000);
      rest();
    }
    expect(asked).toEqual([]);
    workers.idleCount = 0;
    await pass(5 * IDLE_MS, 1000);
    expect(asked).toEqual([]);
  });

  it('goes although the others work', async () => {
    scaler.start(1, 3);
    for (let second = 0; second < 60; second++) {
      workers.idleCount = 2;
      scaler.freed();
      await pass(1000, 1000);
    }
    expect(asked).toEqual([2]);
  });

  it('is the last one and stays, also when the range begins at none', async () => {
    scaler.start(0, 3);
    await pass(10 * IDLE_MS, 1000);
    expect(asked).toEqual([2, 1]);
  });
});

describe('nothing is done and no timer runs', () => {
  it('for a fixed number of workers', async () => {
    scaler.start(2, 2);
    overload();
    scaler.freed();
    expect(clock.timers).toBe(0);
    await pass(2 * IDLE_MS, 1000);
    expect(asked).toEqual([]);
  });

  it('while no request comes and the fewest workers are there', () => {
    scaler.start(1, 3);
    expect(clock.timers).toBe(0);
  });

  it('after a stop, whatever is going on', async () => {
    scaler.start(1, 3);
    overload();
    scaler.stop();
    expect(clock.timers).toBe(0);
    scaler.requested();
    scaler.freed();
    expect(clock.timers).toBe(0);
    await pass(IDLE_MS, 1000);
    expect(asked).toEqual([]);
  });

  it('about a failed step that a new range has overtaken', async () => {
    startFails = true;
    scaler.start(1, 3);
    overload();
    clock.advance(QUEUE_MS);
    clock.advance(QUEUE_MS);
    expect(asked).toEqual([2]);
    workers.target = 3;
    scaler.start(3, 3);
    await settle();
    expect(asked).toEqual([2]);
    expect(failures).toEqual([]);
  });
});
