import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#libs/archive';
import { deviceName, type Device } from './devices.js';
import { placementOf } from './placement.js';

function place(yaml: string, gpus = 0) {
  const inventory: Device[] = [{ kind: 'cpu', index: 0, executionProvider: 'cpu' }];
  for (let index = 0; index < gpus; index++)
    inventory.push({ kind: 'gpu', index, executionProvider: 'cuda' });
  const placement = placementOf(parseModelConfig(yaml), inventory);
  return { ...placement, devices: placement.devices?.map(deviceName) };
}

const unavailable = (text: string) =>
  expect.objectContaining({ code: 'DEVICE_UNAVAILABLE', message: expect.stringContaining(text) });

describe('marline.devices', () => {
  it('names devices in order; cuda means every GPU, and none counts twice', () => {
    expect(place("marline: { devices: ['cuda:1', cuda, cpu] }", 3)).toMatchObject({
      deviceType: 'gpu',
      devices: ['cuda:1', 'cuda:0', 'cuda:2', 'cpu'],
      warnings: [],
    });
    expect(place('marline: { devices: [cpu] }', 3)).toMatchObject({ deviceType: 'cpu', devices: ['cpu'] });
  });

  it('win over TorchServe’s keys', () => {
    const yaml = "deviceType: gpu\ndeviceIds: [0]\nmarline: { devices: ['cuda:1'] }";
    expect(place(yaml, 2)).toMatchObject({ devices: ['cuda:1'] });
    expect(place(yaml, 2).deviceIds).toBeUndefined();
  });

  it('are refused when none is there, with what was asked, what is there and what to do', () => {
    const attempt = () => place("marline: { devices: ['cuda:3', 'cuda:4'] }", 2);
    expect(attempt).toThrow(
      unavailable('asks for cuda:3, cuda:4, and this machine has cpu, cuda:0, cuda:1.'),
    );
    expect(attempt).toThrow(unavailable('cpuFallback: true'));
    expect(() => place('marline: { devices: [cuda] }')).toThrow(unavailable('nvidia-smi'));
  });

  it('go to the CPU when that is allowed or listed, never without a warning', () => {
    const warned = [expect.stringContaining('runs on cpu, because marline.devices cuda:0 is not there')];
    expect(place("marline: { devices: ['cuda:0'], cpuFallback: true }")).toMatchObject({
      deviceType: 'cpu',
      devices: ['cpu'],
      warnings: warned,
    });
    expect(place("marline: { devices: ['cuda:0', cpu] }")).toMatchObject({
      devices: ['cpu'],
      warnings: warned,
    });
  });

  it('keep to those that are there when one is missing, with a warning', () => {
    expect(place("marline: { devices: ['cuda:0', 'cuda:7'] }", 1)).toMatchObject({
      devices: ['cuda:0'],
      warnings: [expect.stringContaining('cuda:7 is not there')],
    });
  });
});

describe('TorchServe’s keys', () => {
  it('leave placement to TorchServe’s rules', () => {
    expect(place('deviceIds: [1, 0]', 2)).toMatchObject({
      deviceType: 'gpu',
      deviceIds: [1, 0],
      warnings: [],
    });
    expect(place('', 2)).toMatchObject({ deviceType: 'gpu', warnings: [] });
    expect(place('')).toMatchObject({ deviceType: 'cpu', warnings: [] });
    expect(place('deviceType: cpu', 2).devices).toBeUndefined();
  });

  it('fall back as there, but not silently, and not against cpuFallback: false', () => {
    expect(place('deviceType: gpu')).toMatchObject({
      deviceType: 'cpu',
      warnings: [expect.stringContaining('runs on the CPU')],
    });
    expect(place('deviceIds: [0, 7]', 2).warnings).toEqual([expect.stringContaining('deviceIds 0, 7')]);
    expect(() => place('deviceType: gpu\nmarline: { cpuFallback: false }')).toThrow(
      unavailable('deviceType asks for a GPU, and this machine has cpu.'),
    );
  });

  it('say which devices get instances', () => {
    expect(place('deviceIds: [1]\nmarline: { instancesPerDevice: 2 }', 2)).toMatchObject({
      devices: ['cuda:1'],
      instancesPerDevice: 2,
    });
    expect(place('marline: { instancesPerDevice: 2 }', 2).devices).toEqual(['cuda:0', 'cuda:1']);
    expect(place('deviceType: cpu\nmarline: { instancesPerDevice: 2 }', 2).devices).toEqual(['cpu']);
  });
});
