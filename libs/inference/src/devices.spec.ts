import { describe, expect, it } from 'vitest';
import { DevicePlacer, detectDevices, deviceName, type Device, type DeviceSources } from './devices.js';

const CPU: Device = { kind: 'cpu', index: 0, executionProvider: 'cpu' };
/** Three GPUs whose sessions run on the CPU: placement is the same code as with real ones. */
const INVENTORY: Device[] = [
  CPU,
  ...[0, 1, 2].map((index): Device => ({ kind: 'gpu', index, executionProvider: 'cpu' })),
];

const LISTING = `GPU 0: NVIDIA H200 (UUID: GPU-1aa0a3c1-0000-0000-0000-000000000000)
GPU 1: NVIDIA H200 (UUID: GPU-2bb0a3c1-0000-0000-0000-000000000000)
  MIG 1g.18gb     Device  0: (UUID: MIG-3cc0a3c1-0000-0000-0000-000000000000)
`;

function machine(overrides: Partial<DeviceSources> = {}): DeviceSources {
  return {
    env: {},
    hasCudaLibrary: () => true,
    listGpus: async () => LISTING,
    listBackends: async () => ['cpu', 'webgpu', 'cuda'],
    ...overrides,
  };
}

const gpusOf = async (overrides: Partial<DeviceSources>) =>
  (await detectDevices(machine(overrides))).filter(({ kind }) => kind === 'gpu').length;

describe('detectDevices', () => {
  it('lists the CPU and each GPU of the driver', async () => {
    expect(await detectDevices(machine())).toEqual([
      CPU,
      { kind: 'gpu', index: 0, executionProvider: 'cuda' },
      { kind: 'gpu', index: 1, executionProvider: 'cuda' },
    ]);
  });

  it.each<[string, Partial<DeviceSources>]>([
    ['the CUDA library is not installed', { hasCudaLibrary: () => false }],
    ['ONNX Runtime was built without CUDA', { listBackends: async () => ['cpu'] }],
  ])('leaves GPUs to Python when %s', async (_, overrides) => {
    expect(await detectDevices(machine(overrides))).toEqual([
      CPU,
      { kind: 'gpu', index: 0, executionProvider: 'cuda', onlyPython: true },
      { kind: 'gpu', index: 1, executionProvider: 'cuda', onlyPython: true },
    ]);
  });

  it.each<[string, Partial<DeviceSources>]>([
    ['there is no driver', { listGpus: () => Promise.reject(new Error('ENOENT')) }],
    ['the driver lists nothing', { listGpus: async () => 'No devices found.\n' }],
  ])('lists no GPU when %s', async (_, overrides) => {
    expect(await detectDevices(machine(overrides))).toEqual([CPU]);
  });

  it('does not load ONNX Runtime to learn that there is no GPU', async () => {
    const listBackends = () => Promise.reject(new Error('loaded'));
    expect(await gpusOf({ hasCudaLibrary: () => false, listBackends })).toBe(2);
    expect(await detectDevices(machine({ listGpus: async () => '', listBackends }))).toEqual([CPU]);
  });

  it.each([
    ['0,1', 2],
    ['1', 1],
    [' 1 , 0 ', 2],
    ['', 0],
    ['-1', 0],
    ['0,7,1', 1],
    ['NoDevFiles', 0],
    ['GPU-2bb', 1],
    ['MIG-3cc0a3c1-0000-0000-0000-000000000000', 1],
    ['GPU-ffff', 0],
  ])('shows what CUDA_VISIBLE_DEVICES=%j leaves visible', async (value, count) => {
    expect(await gpusOf({ env: { CUDA_VISIBLE_DEVICES: value } })).toBe(count);
  });
});

describe('DevicePlacer', () => {
  const model = {};
  const indexes = (
    placer: DevicePlacer,
    count: number,
    settings: Parameters<DevicePlacer['assign']>[0],
    of: object = model,
  ) => Array.from({ length: count }, () => placer.assign(settings, of).index);

  it('counts over all models and starts with number 1', () => {
    const placer = new DevicePlacer(INVENTORY);
    expect(indexes(placer, 2, { deviceType: 'gpu' })).toEqual([1, 2]);
    expect(indexes(placer, 3, { deviceType: 'gpu' }, {})).toEqual([0, 1, 2]);
  });

  it('gives every worker the only GPU', () => {
    const placer = new DevicePlacer(INVENTORY.slice(0, 2));
    expect(indexes(placer, 2, { deviceType: 'gpu' })).toEqual([0, 0]);
  });

  it('goes round the deviceIds of each model from their start', () => {
    const placer = new DevicePlacer(INVENTORY);
    const settings = { deviceType: 'gpu', deviceIds: [2, 0] } as const;
    expect(indexes(placer, 3, settings)).toEqual([2, 0, 2]);
    expect(indexes(placer, 1, settings, {})).toEqual([2]);
    expect(indexes(placer, 1, settings)).toEqual([0]);
    expect(indexes(placer, 1, { deviceType: 'gpu' })).toEqual([1]);
  });

  it.each([[[3]], [[0, -1]], [[]]])('ignores deviceIds %j', (deviceIds) => {
    const placer = new DevicePlacer(INVENTORY);
    expect(indexes(placer, 3, { deviceType: 'gpu', deviceIds })).toEqual([1, 2, 0]);
  });

  it('uses the CPU when the model asks for it or there is no GPU, without using up a turn', () => {
    const placer = new DevicePlacer(INVENTORY);
    expect(placer.assign({ deviceType: 'cpu', deviceIds: [1] }, model)).toBe(CPU);
    expect(indexes(placer, 1, { deviceType: 'gpu' })).toEqual([1]);
    expect(new DevicePlacer([CPU]).assign({ deviceType: 'gpu' }, model)).toBe(CPU);
  });

  const [, gpu0, gpu1] = INVENTORY as [Device, Device, Device];

  it.each([
    [1, ['cuda:1', 'cpu', 'cuda:1', 'cpu', 'cuda:1']],
    [2, ['cuda:1', 'cuda:1', 'cpu', 'cpu', 'cuda:1']],
  ])('fills a list in its order, %i per device', (instancesPerDevice, expected) => {
    const placer = new DevicePlacer(INVENTORY);
    const wish = { deviceType: 'gpu', devices: [gpu1, CPU], instancesPerDevice } as const;
    expect(expected.map(() => deviceName(placer.assign(wish, model)))).toEqual(expected);
  });

  it('gives the next worker of a list the device that one left', () => {
    const placer = new DevicePlacer(INVENTORY);
    const wish = { deviceType: 'gpu', devices: [gpu0, gpu1, CPU] } as const;
    for (let worker = 0; worker < 3; worker++) placer.assign(wish, model);
    placer.release(gpu1, model);
    expect(placer.assign(wish, model)).toBe(gpu1);
    expect(placer.assign(wish, {})).toBe(gpu0);
  });

  it.each([
    [{}, ['cuda:0,cuda:1', 'cuda:2,cuda:0', 'cuda:1,cuda:2']],
    [{ deviceIds: [2, 1] }, ['cuda:2,cuda:1', 'cuda:2,cuda:1']],
    [{ devices: [gpu1, CPU, gpu0] }, ['cuda:1,cuda:0', 'cuda:1,cuda:0']],
  ])('gives a worker that takes several one after the other: %j', (asked, expected) => {
    const placer = new DevicePlacer(INVENTORY);
    const wish = { deviceType: 'gpu', gpusPerWorker: 2, ...asked } as const;
    const blocks = expected.map(() => placer.block(wish, placer.assign(wish, model)));
    expect(blocks.map((block) => block.map(deviceName).join())).toEqual(expected);
    const onCpu = { deviceType: 'cpu', gpusPerWorker: 2 } as const;
    expect(placer.block(onCpu, placer.assign(onCpu, model))).toEqual([]);
  });

  it('tells where workers would go without using up a turn', () => {
    const placer = new DevicePlacer(INVENTORY);
    expect(placer.preview({ deviceType: 'gpu' }, 2).map(deviceName)).toEqual(['cuda:1', 'cuda:2']);
    expect(indexes(placer, 1, { deviceType: 'gpu' })).toEqual([1]);
    expect(placer.preview({ deviceType: 'gpu' }, 1).map(deviceName)).toEqual(['cuda:2']);
  });
});
