import { Inject, Injectable } from '@nestjs/common';
import { systemClock, type ModelRef } from '#libs/common';
import {
  InlineWorker,
  ProcessWorker,
  SpareThread,
  ThreadWorker,
  type LoadModel,
  type PoolWorker,
  type WorkerEvents,
} from '#libs/pool';
import { DevicePlacer, type Device } from './devices.js';
import { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
import type { ModelSettings } from './model-settings.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

const FIRST_WORKER_ID = 9000;
/** A spare thread is made when the load that took the last one has had time to be served: booting costs CPU too. */
const SPARE_DELAY_MS = 1000;
const ENTRY = new URL('./onnx.worker.js', import.meta.url);

/** Makes the workers of all models of the process, and gives each its device. */
@Injectable()
export class WorkerProvider {
  #lastId = FIRST_WORKER_ID - 1;
  /** The versions whose number of workers follows the load. */
  readonly #growing = new Set<object>();
  #spare: SpareThread | undefined;
  #cancelSpare: (() => void) | undefined;

  readonly #onnx: DevicePlacer;
  readonly #takesOutput: boolean;

  /** @param python places workers on every device; ONNX Runtime may not be able to use all of them */
  constructor(
    private readonly python: DevicePlacer,
    @Inject(INFERENCE_OPTIONS) { observer }: Pick<InferenceOptions, 'observer'>,
  ) {
    this.#takesOutput = observer.takesOutput;
    const usable = python.devices.filter(({ onlyPython }) => onlyPython !== true);
    this.#onnx = usable.length === python.devices.length ? python : new DevicePlacer(usable);
  }

  /** The devices of the machine for Python workers, or for all others. */
  inventory(runsPython: boolean): readonly Device[] {
    return this.#placer(runsPython).devices;
  }

  /** Ids of workers as TorchServe's port numbers: from 9000, none used twice. */
  nextId(): number {
    return ++this.#lastId;
  }

  /** The device of a new worker. @param ref the same object for all workers of a version */
  place(settings: ModelSettings, ref: ModelRef): Device {
    return this.#placer(settings.runsPython).assign(settings.placement, ref);
  }

  /** All GPUs of a worker that takes several and was given `first`; none for any other, and on the CPU. */
  gpus({ placement, runsPython }: ModelSettings, first: Device): Device[] {
    return placement.gpusPerWorker === undefined ? [] : this.#placer(runsPython).block(placement, first);
  }

  /** A worker that had this device is gone for good. */
  leave(device: Device, { runsPython }: ModelSettings, ref: ModelRef): void {
    this.#placer(runsPython).release(device, ref);
  }

  /** The devices that the first `count` workers of a version would get now. */
  preview(settings: ModelSettings, count: number): Device[] {
    return this.#placer(settings.runsPython).preview(settings.placement, count);
  }

  #placer(runsPython: boolean): DevicePlacer {
    return runsPython ? this.python : this.#onnx;
  }

  /**
   * Keeps one thread booted for all versions that may grow under load.
   * @param version stands for the version
   * @param grows false from the moment it no longer does
   */
  keepSpare(version: object, grows: boolean): void {
    if (grows) this.#growing.add(version);
    else this.#growing.delete(version);
    if (this.#growing.size > 0) {
      this.#makeSpareSoon();
      return;
    }
    this.#cancelSpare?.();
    this.#cancelSpare = undefined;
    this.#spare?.end();
    this.#spare = undefined;
  }

  #takeSpare(): SpareThread | undefined {
    const spare = this.#spare;
    this.#spare = undefined;
    if (this.#growing.size > 0) this.#makeSpareSoon();
    return spare;
  }

  #makeSpareSoon(): void {
    if (this.#spare !== undefined) return;
    this.#cancelSpare ??= systemClock.after(SPARE_DELAY_MS, () => {
      this.#cancelSpare = undefined;
      this.#spare = new SpareThread({ entry: ENTRY, name: 'W-spare', takesOutput: this.#takesOutput });
    });
  }

  /** Makes a worker where the version's isolation says. */
  create(
    id: number,
    events: WorkerEvents,
    { model, version }: ModelRef,
    { isolation, startupTimeout, memoryLimitMb }: ModelSettings,
  ): PoolWorker<WorkerModel, WorkerReady> {
    const common = { id, events, startTimeoutMs: Math.max(0, startupTimeout * 1000) };
    const takesOutput = this.#takesOutput;
    const remote = { ...common, takesOutput, entry: ENTRY, name: `W-${id}-${model}_${version}` };
    switch (isolation) {
      case 'thread':
        return new ThreadWorker({ ...remote, spare: this.#takeSpare() });
      case 'process':
        return new ProcessWorker({ ...remote, memoryLimitMb });
      case 'none':
        return new InlineWorker({ ...common, load: loadHere });
    }
  }
}

/** Imported when it is needed, because only models on the main thread need it there. */
const loadHere: LoadModel<WorkerModel, WorkerReady> = async (model, host) => {
  const { loadOnnxEngine } = await import('./onnx-engine.js');
  return loadOnnxEngine(model, host);
};
