import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryBudget, bytesOf, defaultMemoryBudgetMb, footprintOf } from './memory-budget.js';

const MB = 2 ** 20;
const onCpu = { isolation: 'thread', deviceType: 'cpu', runsPython: false } as const;

describe('an estimate', () => {
  it('has shared weights once, and each copy in full', () => {
    const shared = footprintOf(100 * MB, onCpu, 8 * MB);
    expect(shared).toEqual({ sharedBytes: 100 * MB, workerBytes: 45 * MB });
    expect(bytesOf(shared, 4)).toBe(280 * MB);
    const copies = footprintOf(100 * MB, onCpu, 200 * MB);
    expect(copies).toEqual({ sharedBytes: 0, workerBytes: 295 * MB });
    expect(bytesOf(copies, 4)).toBe(1180 * MB);
  });

  it('has no shared weights on a GPU', () => {
    expect(footprintOf(100 * MB, { ...onCpu, deviceType: 'gpu' }, 8 * MB).sharedBytes).toBe(0);
  });

  it('is nothing without workers, and little without a model', () => {
    expect(bytesOf(footprintOf(100 * MB, onCpu, 0), 0)).toBe(0);
    expect(footprintOf(0, onCpu, 0)).toEqual({ sharedBytes: 0, workerBytes: 25 * MB });
    expect(footprintOf(0, { ...onCpu, isolation: 'none' }, 0).workerBytes).toBe(0);
  });

  it('of a process is no more than its limit', () => {
    const limited = { ...onCpu, isolation: 'process', memoryLimitMb: 128 } as const;
    expect(footprintOf(100 * MB, limited, 200 * MB).workerBytes).toBe(128 * MB);
    expect(footprintOf(0, limited, 0).workerBytes).toBe(70 * MB);
  });

  it('of a Python worker is PyTorch and the archive, whatever else it has', () => {
    const python = { isolation: 'process', deviceType: 'cpu', runsPython: true } as const;
    expect(footprintOf(100 * MB, python, 8 * MB)).toEqual({ sharedBytes: 0, workerBytes: 300 * MB });
    expect(footprintOf(0, { ...python, memoryLimitMb: 128 }, 0).workerBytes).toBe(128 * MB);
  });
});

describe('a budget', () => {
  const [a, b] = [{}, {}];
  let budget: MemoryBudget;
  const claim = (owner: object, mb: number, workers = 1) =>
    budget.claim(owner, { model: 'm', workers, bytes: mb * MB });
  beforeEach(() => {
    budget = new MemoryBudget(100);
  });

  it('refuses what is not left, with what is needed and what there is', () => {
    claim(a, 60);
    expect(() => claim(b, 41, 2)).toThrow(
      expect.objectContaining({
        code: 'INSUFFICIENT_MEMORY',
        status: 507,
        message: expect.stringMatching(
          /"m" needs about 41 MB for 2 workers and 40 MB are left\..*memoryBudgetMb/,
        ),
      }),
    );
    claim(b, 40);
    expect(budget.usedBytes).toBe(100 * MB);
  });

  it('counts what a version has already, and gives back what it leaves', () => {
    claim(a, 60);
    claim(a, 100);
    expect(() => claim(b, 1)).toThrow('0 MB are left');
    claim(a, 30);
    claim(b, 70);
    budget.release(a);
    claim(b, 100);
  });

  it('never refuses to take less, also when the estimate is above the limit', () => {
    const small = new MemoryBudget(1);
    const before = new MemoryBudget(0);
    before.claim(a, { model: 'm', workers: 4, bytes: 10 ** 15 });
    expect(() => small.claim(a, { model: 'm', workers: 0, bytes: 0 })).not.toThrow();
    claim(a, 100);
    claim(a, 90);
    expect(budget.usedBytes).toBe(90 * MB);
  });

  it.each([
    [0, 1000, 900],
    [500, 1000, 450],
    [2 ** 44, 1000, 900],
  ])('is 90 %% of the smaller of a limit of %i MB and a machine of %i MB', (limitMb, totalMb, expected) => {
    expect(defaultMemoryBudgetMb(limitMb * MB, totalMb * MB)).toBe(expected);
  });
});
