import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** A place where a worker's session can run. */
export interface Device {
  readonly kind: 'cpu' | 'gpu';
  /** Counts from 0 among the visible devices of its kind: the `gpuId` of describe and of handlers. */
  readonly index: number;
  readonly executionProvider: 'cpu' | 'cuda';
  /** True for a GPU that ONNX Runtime cannot use as it is installed: only Python workers, which bring their own CUDA, run there. */
  readonly onlyPython?: true;
}

/** How `marline.devices` calls it: `cpu`, `cuda:0`. */
export function deviceName({ kind, index }: Device): string {
  return kind === 'cpu' ? 'cpu' : `cuda:${index}`;
}

/** What {@link detectDevices} asks the machine. */
export interface DeviceSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** True when ONNX Runtime's CUDA library was installed beside its binding. */
  readonly hasCudaLibrary: () => boolean;
  /** What `nvidia-smi -L` prints; rejects where there is no such command. */
  readonly listGpus: () => Promise<string>;
  /** Names of the back ends that ONNX Runtime was built with. */
  readonly listBackends: () => Promise<readonly string[]>;
}

const CPU: Device = { kind: 'cpu', index: 0, executionProvider: 'cpu' };
const LIST_TIMEOUT_MS = 10_000;

/**
 * The CPU, then every GPU that the driver lists. A session would really run there when ONNX Runtime was built with CUDA and its
 * CUDA library is on disk (a separate download); there is no fall-back at run time, so any other GPU is for Python alone.
 * `CUDA_VISIBLE_DEVICES` is respected; indexes count from 0 among what it leaves visible.
 */
export async function detectDevices(sources: DeviceSources = machine): Promise<readonly Device[]> {
  const listing = await sources.listGpus().catch(() => '');
  const gpus = visibleGpus(listing, sources.env['CUDA_VISIBLE_DEVICES']);
  if (gpus === 0) return [CPU];
  // Cheapest question first: loading ONNX Runtime costs the process 50 ms and 12 MB, and hosts without the CUDA download never get there.
  const forOnnx = sources.hasCudaLibrary() && (await sources.listBackends()).includes('cuda');
  return [
    CPU,
    ...Array.from({ length: gpus }, (_, index): Device => ({
      kind: 'gpu',
      index,
      executionProvider: 'cuda',
      ...(!forOnnx && { onlyPython: true }),
    })),
  ];
}

/** How many GPUs CUDA will show. As CUDA does, the list ends at the first entry that names no device. */
function visibleGpus(listing: string, visible: string | undefined): number {
  const indexes = [...listing.matchAll(/^GPU (\d+):/gm)].map(([, index]) => String(index));
  const uuids = [...listing.matchAll(/UUID: ((?:GPU|MIG)-[\w/-]+)/g)].map(([, uuid]) => String(uuid));
  if (visible === undefined) return indexes.length;
  const entries = visible.split(',').map((entry) => entry.trim());
  const exists = (entry: string) =>
    indexes.includes(entry) || (/^(GPU|MIG)-/.test(entry) && uuids.some((uuid) => uuid.startsWith(entry)));
  const end = entries.findIndex((entry) => !exists(entry));
  return end === -1 ? entries.length : end;
}

const machine: DeviceSources = {
  env: process.env,
  hasCudaLibrary: () => {
    const folder = join(onnxRuntimeFolder(), 'bin', 'napi-v6', process.platform, process.arch);
    return ['libonnxruntime_providers_cuda.so', 'onnxruntime_providers_cuda.dll'].some((name) =>
      existsSync(join(folder, name)),
    );
  },
  listGpus: async () =>
    (await promisify(execFile)('nvidia-smi', ['-L'], { timeout: LIST_TIMEOUT_MS })).stdout,
  listBackends: async () =>
    (await import('onnxruntime-node')).listSupportedBackends().map(({ name }) => name),
};

/** The folder of the installed `onnxruntime-node`, found without loading it. */
function onnxRuntimeFolder(): string {
  return dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
}

/** What decides where the workers of one version go. */
export interface DeviceWish {
  readonly deviceType: 'cpu' | 'gpu';
  /** TorchServe's list of GPUs, by number. */
  readonly deviceIds?: readonly number[];
  /** The list of `marline.devices`, in its order; absent where TorchServe's rules place the workers. */
  readonly devices?: readonly Device[];
  /** Workers that each of `devices` gets before the next one is used; 1 by default. */
  readonly instancesPerDevice?: number;
  /** GPUs that each worker takes, one after the other in the list; with it TorchServe's rules place also what has `devices`. */
  readonly gpusPerWorker?: number;
}

/**
 * Hands out devices to workers: by `marline.devices` where a model has that, else by TorchServe's rules. One per process,
 * because the counter for models without a list is shared by all of them: it is increased first, so with several GPUs the
 * first worker gets number 1.
 */
export class DevicePlacer {
  readonly #gpus: readonly Device[];
  readonly #cpu: Device;
  #last = 0;
  readonly #perModel = new WeakMap<object, number>();
  readonly #living = new WeakMap<object, Map<Device, number>>();

  /** @param devices the inventory */
  constructor(readonly devices: readonly Device[]) {
    this.#gpus = devices.filter(({ kind }) => kind === 'gpu');
    this.#cpu = devices.find(({ kind }) => kind === 'cpu') ?? CPU;
  }

  /**
   * The device of a new worker, its first one where it takes several; one that is restarted keeps what it had.
   * @param model stands for the model version: the same object for all its workers, for lists are counted per version
   */
  assign(wish: DeviceWish, model: object): Device {
    if (wish.gpusPerWorker !== undefined) return this.#nextBlock(wish, wish.gpusPerWorker, model);
    if (wish.devices !== undefined) return this.#emptiest(wish.devices, wish.instancesPerDevice ?? 1, model);
    const count = this.#gpus.length;
    if (wish.deviceType === 'cpu' || count === 0) return this.#cpu;
    const chosen = this.#chosen(wish);
    if (chosen !== undefined) {
      const turn = this.#perModel.get(model) ?? 0;
      this.#perModel.set(model, turn + 1);
      return chosen[turn % chosen.length] ?? this.#cpu;
    }
    this.#last = (this.#last + 1) % count;
    return this.#gpus[this.#last] ?? this.#cpu;
  }

  /** The GPUs of a worker that takes several, from its first one on. */
  block(wish: DeviceWish, first: Device): Device[] {
    const gpus = this.#listed(wish);
    const start = gpus.indexOf(first);
    if (start === -1) return [];
    return Array.from(
      { length: Math.min(wish.gpusPerWorker ?? 1, gpus.length) },
      (_, at) => gpus[(start + at) % gpus.length] ?? first,
    );
  }

  #nextBlock(wish: DeviceWish, size: number, model: object): Device {
    const gpus = wish.deviceType === 'cpu' ? [] : this.#listed(wish);
    const turn = this.#perModel.get(model) ?? 0;
    this.#perModel.set(model, turn + 1);
    return gpus[(turn * size) % gpus.length] ?? this.#cpu;
  }

  /** The GPUs that workers which take several are given, in this order. */
  #listed(wish: DeviceWish): readonly Device[] {
    return wish.devices?.filter(({ kind }) => kind === 'gpu') ?? this.#chosen(wish) ?? this.#gpus;
  }

  /** TorchServe's list; one with an id that does not exist is ignored as a whole, as it does. */
  #chosen({ deviceIds = [] }: DeviceWish): readonly Device[] | undefined {
    const chosen = deviceIds.flatMap((id) => this.#gpus[id] ?? []);
    return chosen.length > 0 && chosen.length === deviceIds.length ? chosen : undefined;
  }

  /** The worker that was given this device is gone for good. */
  release(device: Device, model: object): void {
    const living = this.#living.get(model);
    living?.set(device, Math.max(0, (living.get(device) ?? 0) - 1));
  }

  /** The devices that the first `count` workers of a model would get now, without using up a turn. */
  preview(wish: DeviceWish, count: number): Device[] {
    const trial = new DevicePlacer(this.devices);
    trial.#last = this.#last;
    const model = {};
    return Array.from({ length: count }, () => trial.assign(wish, model));
  }

  // Workers come and go, so what counts is how many each device has now; the list's order decides between equals.
  #emptiest(devices: readonly Device[], perDevice: number, model: object): Device {
    const living = this.#living.get(model) ?? new Map<Device, number>();
    this.#living.set(model, living);
    const rounds = (device: Device) => Math.floor((living.get(device) ?? 0) / perDevice);
    const fewest = Math.min(...devices.map(rounds));
    const device = devices.find((candidate) => rounds(candidate) === fewest) ?? this.#cpu;
    living.set(device, (living.get(device) ?? 0) + 1);
    return device;
  }
}
