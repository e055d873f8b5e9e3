import type { ModelArchive } from '#libs/archive';
import { MarlineError, VERSION, type Clock, type ModelRef } from '#libs/common';
import type { HandlerPlan, HandlerSetup } from '#libs/handler';
import type { Device } from './devices.js';
import type { InferenceOptions } from './inference.options.js';
import { footprintOf, type Footprint, type MemoryBudget } from './memory-budget.js';
import { modelFile } from './model-file.js';
import type { ModelSettings } from './model-settings.js';
import { preparePackages, type PythonPackages } from './python-packages.js';
import { prepareModel, type PreparedModel } from './shared-weights.js';
import type { SessionPlan, WorkerModel, WorkerReady } from './worker-model.js';
import type { WorkerProvider } from './workers.js';

/** What all runtimes of a process share. */
export interface RuntimeHost {
  readonly options: InferenceOptions;
  readonly workers: WorkerProvider;
  readonly clock: Clock;
  readonly memory: MemoryBudget;
  /** Tells the operator what he did not ask for. */
  warn(message: string): void;
}

/** What makes one runtime. */
export interface RuntimeModel {
  readonly name: string;
  readonly version: string;
  readonly archive: ModelArchive;
  readonly settings: ModelSettings;
  readonly plan: HandlerPlan;
  /** Bytes of the model and of what lies beside it; 0 without one. */
  readonly modelBytes: number;
  readonly loadedAtStartup: boolean;
}

const NO_MODEL: WorkerReady = { inputs: [], outputs: [] };

/** Makes a model version ready for its workers, once, and tells each worker what to load and where. */
export class ModelLoader {
  readonly #model: RuntimeModel;
  readonly #host: RuntimeHost;
  readonly #ref: ModelRef;
  readonly #devices = new WeakMap<WorkerModel, Device>();
  #preparing: Promise<PreparedModel | undefined> | undefined;
  #weights: PreparedModel | undefined;
  #packages: PythonPackages | undefined;

  constructor(model: RuntimeModel, host: RuntimeHost) {
    this.#model = model;
    this.#host = host;
    this.#ref = { model: model.name, version: model.version };
  }

  /** Inputs and outputs of the model; empty before {@link ModelLoader.prepare} and without an ONNX file. */
  get metadata(): WorkerReady {
    return this.#weights ?? NO_MODEL;
  }

  /** What was installed for its Python workers. */
  get packages(): PythonPackages | undefined {
    return this.#packages;
  }

  /** The memory of its workers, by estimate. */
  get footprint(): Footprint {
    const { modelBytes, settings } = this.#model;
    return footprintOf(modelBytes, settings, this.#host.options.shareWeightsAboveBytes);
  }

  /** Items of one batch: what was asked for, but no more than a fixed batch axis of the model takes. */
  get batchSize(): number {
    const fixed = this.metadata.inputs.flatMap(({ shape: [rows] }) =>
      typeof rows === 'number' && rows > 0 ? [rows] : [],
    );
    return Math.max(1, Math.min(this.#model.settings.batchSize, ...fixed));
  }

  /**
   * The canary load of the model and the form whose weights the workers share. Done once; tried again after a failure.
   * @throws MarlineError `RUNTIME_UNSUPPORTED`, `MODEL_INVALID`
   */
  async prepare(): Promise<void> {
    const attempt = (this.#preparing ??= this.#prepare());
    try {
      this.#weights = await attempt;
    } catch (error) {
      if (this.#preparing === attempt) this.#preparing = undefined;
      throw error;
    }
  }

  /**
   * What the next worker loads.
   * @param others true when other workers serve already: then it is there sooner without a run to warm up. A GPU is
   * warmed up always, because its first run may take seconds.
   */
  workerModel(others: boolean): WorkerModel {
    const { plan, settings } = this.#model;
    const device = this.#host.workers.place(settings, this.#ref);
    const gpuId = device.kind === 'gpu' ? device.index : null;
    const gpus = this.#host.workers.gpus(settings, device).map(({ index }) => index);
    const model: WorkerModel = {
      setup: this.setup(gpus.length > 0 ? 0 : gpuId),
      handler: plan.runs === 'worker' ? plan.handler : { kind: 'none' },
      session: this.#session(device, gpuId),
      skipsWarmUp: others && device.kind === 'cpu',
      ...(gpus.length > 0 && { gpus }),
    };
    this.#devices.set(model, device);
    return model;
  }

  /** The worker that loaded this is gone for good. */
  releaseModel(model: WorkerModel): void {
    const device = this.#devices.get(model);
    if (device !== undefined) this.#host.workers.leave(device, this.#model.settings, this.#ref);
  }

  /** The GPU that a worker was given; `null` on the CPU. */
  gpuIdOf(model: WorkerModel): number | null {
    const device = this.#devices.get(model);
    return device?.kind === 'gpu' ? device.index : null;
  }

  /** What a handler is told about its model and server. */
  setup(gpuId: number | null): Omit<HandlerSetup, 'metric'> {
    const { name, version, archive, settings } = this.#model;
    return {
      modelName: name,
      modelVersion: version,
      manifest: archive.manifest,
      modelConfig: archive.config.raw,
      maxPixels: this.#host.options.maxImagePixels,
      envelope: settings.envelope,
      decodeInputRequest: this.#host.options.decodeInputRequest,
      sequenceIdHeader: this.#host.options.sequenceIdHeader,
      continuousBatching: settings.stateful?.continuous ?? false,
      systemProperties: {
        modelDir: archive.dir,
        gpuId,
        batchSize: this.batchSize,
        serverName: 'Marline',
        serverVersion: VERSION,
        limitMaxImagePixels: this.#host.options.limitMaxImagePixels,
      },
    };
  }

  /** Gives weights and archive back; no worker may use them any more. */
  async release(): Promise<void> {
    const weights = await this.#preparing?.catch(() => undefined);
    await weights?.release();
    await this.#packages?.release();
    await this.#model.archive.release();
  }

  async #prepare(): Promise<PreparedModel | undefined> {
    const { plan, archive, name } = this.#model;
    if (plan.runs === 'nowhere') throw plan.error;
    if (plan.runs === 'python') {
      // Its handler opens what it needs.
      this.#packages = await preparePackages(archive, this.#host.options);
      return undefined;
    }
    const path = await modelFile(archive);
    if (path !== undefined) return this.#prepareModel(path);
    if (plan.runs === 'host') {
      throw new MarlineError('MODEL_INVALID', {
        reason: `The archive of model ${name} has no .onnx file for handler "${plan.name}" to run; name one as serializedFile.`,
      });
    }
    return undefined;
  }

  #prepareModel(path: string): Promise<PreparedModel> {
    const { cacheDir, shareWeightsAboveBytes } = this.#host.options;
    const { startupTimeout, intraOpThreads } = this.#model.settings;
    const timeoutMs = startupTimeout * 1000;
    return prepareModel(path, {
      cacheDir,
      thresholdBytes: shareWeightsAboveBytes,
      intraOpThreads,
      timeoutMs,
    });
  }

  #session(device: Device, gpuId: number | null): SessionPlan | null {
    if (this.#weights === undefined) return null;
    const { executionProvider } = device;
    // The shared form is laid out for the CPU.
    const shared = this.#weights.shared && executionProvider === 'cpu';
    return {
      path: shared ? this.#weights.path : this.#weights.originalPath,
      shared,
      executionProvider,
      deviceId: gpuId,
      intraOpThreads: this.#model.settings.intraOpThreads,
    };
  }
}
