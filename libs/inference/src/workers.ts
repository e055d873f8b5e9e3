import { Injectable } from '@nestjs/common';
import type { ModelRef } from '#libs/common';
import { ThreadWorker, type PoolWorker, type WorkerEvents } from '#libs/pool';
import { DevicePlacer, type Device } from './devices.js';
import type { ModelSettings } from './model-settings.js';
import type { WorkerModel, WorkerReady } from './worker-model.js';

const FIRST_WORKER_ID = 9000;

/** Makes the workers of all models of the process, and gives each its device. */
@Injectable()
export class WorkerProvider {
  #lastId = FIRST_WORKER_ID - 1;

  constructor(private readonly devices: DevicePlacer) {}

  get gpuCount(): number {
    return this.devices.gpuCount;
  }

  /** Ids of workers as TorchServe's port numbers: from 9000, none used twice. */
  nextId(): number {
    return ++this.#lastId;
  }

  /** The device of a new worker. @param ref the same object for all workers of a version */
  place(settings: ModelSettings, ref: ModelRef): Device {
    return this.devices.assign(settings, ref);
  }

  create(
    id: number,
    events: WorkerEvents,
    { model, version }: ModelRef,
    { startupTimeout }: ModelSettings,
  ): PoolWorker<WorkerModel, WorkerReady> {
    return new ThreadWorker({
      id,
      entry: new URL('./onnx.worker.js', import.meta.url),
      events,
      startTimeoutMs: Math.max(0, startupTimeout * 1000),
      name: `W-${id}-${model}_${version}`,
    });
  }
}
