import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { WorkerPool, type PoolEvent } from '#libs/pool';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import type { ScriptModel } from './fixtures/script.js';
import { makeWorker, type Kind } from './worker-kinds.js';

const pools: { close(): Promise<void> }[] = [];

interface PoolSetUp {
  readonly kind?: Kind;
  readonly model?: Partial<ScriptModel>;
  readonly runTimeoutMs?: number;
}

function makePool({ kind = 'thread', model = {}, runTimeoutMs = 0 }: PoolSetUp = {}) {
  const events: PoolEvent[] = [];
  let lastId = 0;
  const pool = new WorkerPool<ScriptModel, unknown>({
    create: (id, workerEvents) =>
      makeWorker(kind, {
        id,
        events: workerEvents,
        startTimeoutMs: 30_000,
        resourceLimits: { maxOldGenerationSizeMb: 64 },
        memoryLimitMb: 160,
      }),
    nextId: () => (lastId += 1),
    modelFor: () => ({ load: 'ok', ...model }),
    runTimeoutMs,
    retryWindowMs: 60_000,
    observer: (event) => events.push(event),
    onIdle: () => {},
  });
  pools.push(pool);
  return { pool, events };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** Gives one action to the pool as soon as a worker is idle, and returns its answer. */
async function ask(pool: ReturnType<typeof makePool>['pool'], action: string): Promise<string | undefined> {
  const item = textItem(action);
  const sink = new CollectingSink();
  await until(() => pool.run([item], sink));
  await until(() => sink.answer(item.id) !== undefined);
  return sink.answer(item.id);
}

afterEach(() => Promise.all(pools.splice(0).map((pool) => pool.close())));

describe.each(['thread', 'process'] as const)('a pool of workers (%s)', (kind) => {
  it('answers an endless loop with “Worker died.” and goes on with a new thread', async () => {
    const { pool, events } = makePool({ kind, runTimeoutMs: 200 });
    await pool.scale(1);
    expect(await ask(pool, 'loop')).toBe('WORKER_DIED');
    expect(await ask(pool, 'hello')).toBe('hello done');
    expect(events.map(({ state }) => state)).toEqual(['starting', 'idle', 'quarantined', 'starting', 'idle']);
  });

  it.each(['exit 1', 'reject', 'fill'])(
    'serves on after a handler that ends its thread (%s)',
    async (action) => {
      const { pool } = makePool({ kind });
      await pool.scale(2);
      const others = Promise.all(Array.from({ length: 20 }, () => ask(pool, 'hello')));
      const failed = await ask(pool, action);
      expect(['WORKER_DIED', 'OUT_OF_RESOURCES']).toContain(failed);
      expect(new Set(await others)).toEqual(new Set(['hello done']));
      await until(() => pool.readyCount === 2);
    },
  );

  it('loses no request while it scales from 1 to 4 to 1 under load', async () => {
    const { pool } = makePool({ kind });
    await pool.scale(1);
    const controller = new AbortController();
    let asked = 0;
    const clients = Array.from({ length: 4 }, async () => {
      const answers = new Set<string | undefined>();
      for (; !controller.signal.aborted; asked += 1) answers.add(await ask(pool, 'native 5'));
      return [...answers];
    });
    await pool.scale(4);
    await until(() => asked > 20);
    await pool.scale(1);
    await until(() => asked > 40);
    controller.abort();
    expect(new Set((await Promise.all(clients)).flat())).toEqual(new Set(['native done']));
    expect(pool.readyCount).toBe(1);
  });
});

describe('a pool of threads', () => {
  it('replaces a thread that is stuck in native code while that one is still there', async () => {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    const { pool } = makePool({ runTimeoutMs: 150, model: { progress } });
    await pool.scale(1);
    expect(await ask(pool, 'native 2000')).toBe('WORKER_DIED');
    expect(await ask(pool, 'hello')).toBe('hello done');
    expect(Atomics.load(progress, 0)).toBe(1);
    await pool.close();
    expect(Atomics.load(progress, 0)).toBe(2);
  });

  it('passes the reason of a failed start to whoever scales', async () => {
    const { pool } = makePool({ model: { load: 'permanent' } });
    await expect(pool.scale(2)).rejects.toMatchObject({ code: 'MODEL_INVALID', message: 'no such opset' });
    expect([pool.alive, pool.readyCount]).toEqual([expect.any(Number), 0]);
  });

  it.runIf(process.platform === 'linux')(
    'leaves no thread behind, however often it starts and stops',
    async () => {
      const threads = () => readdirSync('/proc/self/task').length;
      const { pool } = makePool();
      await pool.scale(2);
      await pool.scale(0);
      const before = threads();
      for (let round = 0; round < 30; round += 1) {
        await pool.scale(2);
        expect(await ask(pool, 'hello')).toBe('hello done');
        await pool.scale(0);
      }
      await until(() => threads() <= before);
      // The port of a thread closes a moment after it.
      const left = () => process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name));
      await expect.poll(left, { timeout: 10_000 }).toEqual([]);
    },
  );
});
