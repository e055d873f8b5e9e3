import type { EngineConfig, ModelConfig } from '#libs/archive';
import { MarlineError } from '#libs/common';
import { deviceName, type Device, type DeviceWish } from './devices.js';

/** Where the workers of one version run. */
export interface Placement extends DeviceWish {
  /** What was asked for and is not done, for the log. */
  readonly warnings: readonly string[];
}

type Asked = Pick<ModelConfig, 'deviceType' | 'deviceIds' | 'engine'>;

/**
 * What a model asks for, on the devices that are there. `marline.devices` wins over TorchServe's keys. Nothing goes to the CPU
 * that was not sent there: a list without one usable device is refused unless `cpuFallback` is true. TorchServe's own
 * `deviceType: gpu` falls back as it does there, with a warning, unless `cpuFallback` is false.
 * @param inventory the devices of the machine
 * @throws MarlineError `DEVICE_UNAVAILABLE`
 */
export function placementOf(asked: Asked, inventory: readonly Device[]): Placement {
  const { engine } = asked;
  if (engine.devices !== undefined) return onListed(engine, engine.devices, inventory);
  const { instancesPerDevice } = engine;
  const byType = byTorchServe(asked, inventory);
  if (instancesPerDevice === undefined) return byType;
  const all = inventory.filter(({ kind }) => kind === byType.deviceType);
  const devices = byType.deviceIds?.flatMap((id) => all.find(({ index }) => index === id) ?? []) ?? all;
  return { ...byType, devices, instancesPerDevice };
}

function onListed(engine: EngineConfig, names: readonly string[], inventory: readonly Device[]): Placement {
  const found = names.map((name) => inventory.filter((device) => isNamed(device, name)));
  const missing = names.filter((_, at) => found[at]?.length === 0);
  const instancesPerDevice = engine.instancesPerDevice ?? 1;
  let devices = [...new Set(found.flat())];
  if (devices.length === 0) {
    if (engine.cpuFallback !== true)
      throw unavailable(`marline.devices asks for ${names.join(', ')}`, inventory);
    devices = inventory.filter(({ kind }) => kind === 'cpu');
  }
  return {
    deviceType: devices.some(({ kind }) => kind === 'gpu') ? 'gpu' : 'cpu',
    devices,
    instancesPerDevice,
    warnings:
      missing.length === 0
        ? []
        : [`runs on ${list(devices)}, because marline.devices ${missing.join(', ')} is not there.`],
  };
}

function byTorchServe({ deviceType, deviceIds, engine }: Asked, inventory: readonly Device[]): Placement {
  const gpus = inventory.filter(({ kind }) => kind === 'gpu').length;
  const warnings: string[] = [];
  if (deviceType === 'gpu' && gpus === 0) {
    if (engine.cpuFallback === false) throw unavailable('deviceType asks for a GPU', inventory);
    warnings.push('runs on the CPU, because deviceType asks for a GPU and none is there.');
  }
  const idsAreThere = deviceIds?.every((id) => id < gpus) === true && deviceIds.length > 0;
  if (deviceIds !== undefined && deviceIds.length > 0 && !idsAreThere && deviceType !== 'cpu')
    warnings.push(`does not keep to deviceIds ${deviceIds.join(', ')}: the machine has ${gpus} GPUs.`);
  return {
    deviceType: gpus === 0 ? 'cpu' : (deviceType ?? 'gpu'),
    ...(idsAreThere && { deviceIds }),
    warnings,
  };
}

function isNamed(device: Device, name: string): boolean {
  return name === deviceName(device) || (name === 'cuda' && device.kind === 'gpu');
}

function list(devices: readonly Device[]): string {
  return devices.map(deviceName).join(', ');
}

function unavailable(asked: string, inventory: readonly Device[]): MarlineError {
  return new MarlineError('DEVICE_UNAVAILABLE', {
    reason:
      `${asked}, and this machine has ${list(inventory)}. Name a device that is there, or allow the CPU with marline.cpuFallback: true. ` +
      'A GPU is there when nvidia-smi lists it and onnxruntime-node was installed with its CUDA library.',
  });
}
