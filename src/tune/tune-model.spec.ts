import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#libs/archive';
import { MarlineError } from '#libs/common';
import type { Measurement, MeasurementOrder } from './measurement.js';
import { tuneModel, type TunePlan } from './tune-model.js';

const source = {
  modelStore: '/store',
  archive: 'm.mar',
  cacheDir: '/cache',
  ownConfig: 'handler: { a: 1 }\n',
};

/** A machine on which a run takes `n + 2` milliseconds. */
function fakeMachine(fail: (order: MeasurementOrder) => boolean = () => false, singleMs = 3) {
  const orders: MeasurementOrder[] = [];
  const measure = (order: MeasurementOrder): Promise<Measurement> => {
    orders.push(order);
    if (fail(order)) return Promise.reject(new MarlineError('OUT_OF_RESOURCES'));
    const { minWorkers = 0, batchSize = 0 } = parseModelConfig(order.config);
    const ms = singleMs - 1 + batchSize;
    return Promise.resolve({
      inputs: [{ name: 'x', dtype: 'float32', shape: ['n', 4] }],
      throughput: (1000 * minWorkers * batchSize) / ms,
      p50Ms: ms,
      p99Ms: 2 * ms,
      cpuMsPerRequest: ms / batchSize,
      peakRssMb: 100,
      runTimes: [{ items: batchSize, runs: 10, ms }],
    });
  };
  const settings = () =>
    orders.map(({ config, callers }) => {
      const { minWorkers, batchSize } = parseModelConfig(config);
      return `${minWorkers}x${batchSize}:${callers}`;
    });
  return { orders, measure, settings };
}

const plan = (machine: Pick<TunePlan, 'measure'>, rest: Partial<TunePlan> = {}): TunePlan => ({
  source,
  limits: { cores: 2, workers: [1, 2], intraOpThreads: [1], batchSizes: [1, 4] },
  rounds: 2,
  sliceMs: 500,
  isInterrupted: () => false,
  announce: () => {},
  ...machine,
  ...rest,
});

describe('tuneModel', () => {
  it('looks at the model once, then measures every setting to and fro', async () => {
    const machine = fakeMachine();
    const results = await tuneModel(plan(machine));
    const there = ['1x1:2', '1x4:8', '2x1:4', '2x4:16'];
    expect(machine.settings()).toEqual(['1x1:1', ...there, ...there.toReversed()]);
    expect(results.map(({ measured }) => Math.round(measured!.throughput))).toEqual([333, 667, 667, 1333]);
    expect(results[3]!.measured!.runTimes).toEqual([{ items: 4, runs: 20, ms: 6 }]);
  });

  it('measures the configuration that it will write, with room for the callers', async () => {
    const machine = fakeMachine();
    await tuneModel(plan(machine, { concurrency: 50 }));
    const { config, callers, archive } = machine.orders.at(-1)!;
    expect({ callers, archive }).toEqual({
      callers: 50,
      archive: 'm.mar',
    });
    expect(parseModelConfig(config).raw).toEqual({
      handler: { a: 1 },
      minWorkers: 1,
      maxWorkers: 1,
      batchSize: 1,
      marline: { intraOpThreads: 1 },
      jobQueueSize: 50,
    });
  });

  it('measures long enough for a few batches', async () => {
    const machine = fakeMachine(() => false, 400);
    await tuneModel(plan(machine));
    expect(machine.orders.slice(1, 3).map(({ warmupMs, durationMs }) => [warmupMs, durationMs])).toEqual([
      [800, 800],
      [1500, 3200],
    ]);
  });

  it('does not try a setting again that failed, and goes on with the others', async () => {
    const machine = fakeMachine(({ config }) => parseModelConfig(config).batchSize === 4);
    const results = await tuneModel(plan(machine));
    expect(machine.orders).toHaveLength(1 + 4 + 2);
    expect(results.map(({ failure }) => failure)).toEqual([
      undefined,
      'Out of resources',
      undefined,
      'Out of resources',
    ]);
  });

  it('fails when not even the simplest setting works', async () => {
    await expect(tuneModel(plan(fakeMachine(() => true)))).rejects.toMatchObject({
      code: 'OUT_OF_RESOURCES',
    });
  });

  it('keeps what it has when it is interrupted', async () => {
    let interrupted = false;
    const machine = fakeMachine(({ config }) => {
      interrupted = parseModelConfig(config).maxWorkers === 2;
      return interrupted;
    });
    const results = await tuneModel(plan(machine, { isInterrupted: () => interrupted }));
    expect(results.map(({ setting }) => setting.batchSize)).toEqual([1, 4]);
    expect(results.every(({ failure }) => failure === undefined)).toBe(true);
  });
});
