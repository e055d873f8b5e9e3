import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#libs/archive';
import { parallelismOf } from './parallelism.js';
import { pythonThreads } from './python-threads.js';

function threads(yaml: string, maxWorkers: number, environment = {}) {
  const config = parseModelConfig(yaml);
  return pythonThreads({ config, maxWorkers, parallelism: parallelismOf(config) }, environment, 8);
}

describe('the threads of a Python worker', () => {
  it.each([
    [1, undefined],
    [2, 4],
    [3, 2],
    [16, 1],
  ])('are PyTorch’s own for one worker, and their part of the cores for several: %i', (workers, expected) => {
    expect(threads('', workers)).toBe(expected);
  });

  it('are what the archive says before what the server says', () => {
    expect(threads('marline: { intraOpThreads: 3 }', 2, { OMP_NUM_THREADS: '5' })).toBe(3);
    expect(threads('', 2, { OMP_NUM_THREADS: '5' })).toBeUndefined();
  });

  it('are one for each rank, or what torchrun is to be told', () => {
    expect(threads('parallelType: tp', 2, { OMP_NUM_THREADS: '5' })).toBe(1);
    expect(threads('parallelType: tp\ntorchrun: { OMP_NUMBER_THREADS: 2 }', 1)).toBe(2);
    expect(threads('parallelType: custom', 2)).toBe(4);
  });
});
