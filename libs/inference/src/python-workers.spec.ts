import { expect, it } from 'vitest';
import { visibleDevices } from './python-workers.js';

it.each([
  [[2, 3], undefined, '2,3'],
  [[0, 1], '4,5,6', '4,5'],
  [[1], 'GPU-a, GPU-b', 'GPU-b'],
])('shows a worker its GPUs %j of CUDA_VISIBLE_DEVICES=%j as %s', (gpus, ours, expected) => {
  expect(visibleDevices(gpus, ours)).toBe(expected);
});
