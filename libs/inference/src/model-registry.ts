import { availableParallelism } from 'node:os';
import {
  Inject,
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import { ModelStore, validateManifest, type ModelArchive } from '#libs/archive';
import { MarlineError, isMarlineError, messageOf, systemClock, toMarlineError } from '#libs/common';
import { HandlerRegistry } from '#libs/handler';
import { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
import { LoggingObserver } from './logging-observer.js';
import { deploymentPlan, refused, type DeploymentPlan } from './deployment-plan.js';
import { checkIsolation } from './isolation.js';
import { MemoryBudget, folderBytes } from './memory-budget.js';
import { ModelCatalog } from './model-catalog.js';
import { modelFile } from './model-file.js';
import type { RuntimeHost, RuntimeModel } from './model-loader.js';
import { ModelRuntime } from './model-runtime.js';
import { namesWorkers, resolveSettings, type RegisterRequest } from './model-settings.js';
import { overridesOf } from './version-overrides.js';
import { WorkerProvider } from './workers.js';

/** What {@link ModelRegistry.replace} did. */
export interface Replacement {
  readonly runtime: ModelRuntime;
  /** The version that is gone; `undefined` when there was none, and while it goes on in the background. */
  readonly replaced?: string;
}

type Resolved = Pick<RuntimeModel, 'name' | 'version' | 'settings' | 'plan'>;

/**
 * Which models are served: name → versions → default, and how they come and go. Every door (REST, `@InjectModel`, `@Infer`, …) ends here.
 * @publicApi
 */
@Injectable()
export class ModelRegistry
  extends ModelCatalog
  implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly #logger = new Logger('Marline');
  readonly #loadedAtStartup = new Set<string>();
  readonly #startupFailures = new Map<string, MarlineError>();
  readonly #host: RuntimeHost;
  #shuttingDown = false;

  constructor(
    @Inject(INFERENCE_OPTIONS) private readonly options: InferenceOptions,
    private readonly store: ModelStore,
    private readonly handlers: HandlerRegistry,
    private readonly workers: WorkerProvider,
  ) {
    super(options.sequenceIdHeader);
    const observer = new LoggingObserver(options.observer, this.#logger);
    this.#host = {
      options: { ...options, observer },
      workers,
      clock: systemClock,
      memory: new MemoryBudget(options.memoryBudgetMb),
      warn: (message) => this.#logger.warn(message),
    };
  }

  /** Registers the start-up models; their workers start in the background. One that fails is logged and leaves the others alone. */
  async onApplicationBootstrap(): Promise<void> {
    await this.store.sweep();
    for (const { url, modelName } of await this.#startupModels())
      await this.registerAtStart({ url, modelName, synchronous: false, atStartup: true });
  }

  /** From now on nothing new is accepted; what was accepted is finished. */
  onModuleDestroy(): void {
    this.#shuttingDown = true;
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all(this.all().map((runtime) => runtime.drain(this.options.drainTimeoutMs)));
  }

  /** Ends the workers. One that hangs in native code cannot be ended: it is waited for no longer than a drain may take. */
  async onApplicationShutdown(): Promise<void> {
    const { drainTimeoutMs } = this.options;
    let stopWaiting = () => {};
    const overdue = new Promise<void>((resolve) => {
      stopWaiting = systemClock.after(drainTimeoutMs, () => {
        this.#logger.error(
          `Workers still run ${drainTimeoutMs} ms after they were told to stop; end this process by SIGKILL.`,
        );
        resolve();
      });
    });
    const closed = Promise.all(this.all().map((runtime) => runtime.close(drainTimeoutMs)));
    await Promise.race([closed, overdue]);
    stopWaiting();
  }

  /** True from the moment the application was told to stop. */
  get shuttingDown(): boolean {
    return this.#shuttingDown;
  }

  /** TorchServe's service envelope around the handlers of all models that speak no protocol themselves; empty for none. */
  get serviceEnvelope(): string {
    return this.options.serviceEnvelope;
  }

  /** Names of the models that were loaded at start, whatever became of them. */
  get startupModels(): ReadonlySet<string> {
    return this.#loadedAtStartup;
  }

  /** Start-up models that could not be registered, by name (or url where there is none), with the reason. */
  get startupFailures(): ReadonlyMap<string, MarlineError> {
    return this.#startupFailures;
  }

  /**
   * Adds a model version and starts its workers. The first version of a name becomes its default. When its workers fail,
   * the version stays registered, as in TorchServe: without workers when the caller waited, else with workers that are
   * tried again.
   * @throws MarlineError `ARCHIVE_…`, `MODEL_VERSION_EXISTS`, `DEVICE_UNAVAILABLE`, `INSUFFICIENT_MEMORY`, `BAD_REQUEST`, and then nothing
   * is registered; `WORKERS_NOT_STARTED` (with the cause) when synchronous
   */
  async register(request: RegisterRequest): Promise<ModelRuntime> {
    const runtime = await this.#open(request);
    const { minWorkers, maxWorkers } = runtime.settings;
    if (minWorkers > 0) await this.#startWorkers(runtime, minWorkers, maxWorkers, request.synchronous);
    return runtime;
  }

  /** As {@link ModelRegistry.register}; but a failure is logged, is one of the {@link ModelRegistry.startupFailures}, and gives `undefined`. */
  async registerAtStart(request: RegisterRequest): Promise<ModelRuntime | undefined> {
    const { url, modelName } = request;
    try {
      const runtime = await this.register(request);
      if (request.atStartup === true) this.#loadedAtStartup.add(runtime.name);
      return runtime;
    } catch (error) {
      const failure = toMarlineError(error);
      this.#startupFailures.set(modelName ?? url, failure);
      this.#logger.error(`Model ${url} was not loaded: ${failure.message}`);
      return undefined;
    }
  }

  /**
   * Puts a new version in the place of the default one, and no request fails: its workers are started and warmed up first, then
   * it becomes the default at once, with the old one's weight in a split, then the old version answers what it accepted and is gone. When the new version
   * fails, it is gone and the old one stays. It gets as many workers as the old one when nobody says how many. When not
   * synchronous, all but the check of the archive goes on in the background. A name that is new is registered.
   * @throws MarlineError `ARCHIVE_…`, `MODEL_VERSION_EXISTS`, and `WORKERS_NOT_STARTED` (with the cause) when synchronous
   */
  async replace(request: RegisterRequest): Promise<Replacement> {
    const runtime = await this.#open(request);
    const taken = this.#takeOver(runtime, request);
    if (request.synchronous) return { runtime, replaced: await taken };
    taken.catch((error: unknown) => this.#logFailedStart(error));
    return { runtime };
  }

  /**
   * What {@link ModelRegistry.register} would do: devices, isolation, threads, batching, memory, warnings, and why it would be
   * refused. The model itself is not loaded, nothing is registered, and nothing stays behind.
   * @throws MarlineError `ARCHIVE_…` for an archive that cannot be read
   */
  async plan(request: RegisterRequest): Promise<DeploymentPlan> {
    const archive = await this.store.open(request.url);
    try {
      const resolved = this.#resolve(request, archive);
      const { settings } = resolved;
      return deploymentPlan(
        {
          ...resolved,
          url: request.url,
          modelBytes: await modelBytesOf(archive),
          devices: this.workers.preview(settings, settings.maxWorkers),
        },
        this.#host.memory,
        this.options.shareWeightsAboveBytes,
      );
    } catch (error) {
      return {
        modelUrl: request.url,
        warnings: archive.config.warnings,
        ...refused(toMarlineError(error)),
      };
    } finally {
      await archive.release();
    }
  }

  /**
   * Changes the number of workers; see {@link ModelRuntime.scale}. When not synchronous, the change goes on in the background.
   * @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND`, `BAD_REQUEST`, `INSUFFICIENT_MEMORY`, `WORKERS_NOT_STARTED`
   */
  async scale(
    name: string,
    version: string | undefined,
    minWorkers: number,
    maxWorkers: number,
    { synchronous }: { readonly synchronous: boolean },
  ): Promise<ModelRuntime> {
    const runtime = this.get(name, version);
    // Here and not only in the runtime, because a caller that does not wait must be told too.
    runtime.admit(minWorkers, maxWorkers);
    await this.#scale(runtime, minWorkers, maxWorkers, synchronous);
    this.changed();
    return runtime;
  }

  /**
   * Takes a version out of service: nothing new reaches it, accepted requests are answered, then it is gone.
   * @param version the default version when not given
   * @throws MarlineError `MODEL_NOT_FOUND`, `MODEL_VERSION_NOT_FOUND`; while other versions exist `DEFAULT_VERSION_IN_USE`, and
   * `VERSION_TAKES_TRAFFIC` for one with a weight in a split
   */
  async unregister(name: string, version?: string): Promise<void> {
    const runtime = this.get(name, version);
    this.assertFree(runtime);
    this.forget(runtime);
    this.changed();
    await runtime.close(this.options.drainTimeoutMs);
  }

  /** Why a download failed is for the log: the caller must not learn what answers in the server's network. */
  async #fetch(url: string): Promise<ModelArchive> {
    try {
      return await this.store.open(url);
    } catch (error) {
      if (isMarlineError(error) && error.code === 'ARCHIVE_DOWNLOAD_FAILED')
        this.#logger.warn(`${error.message}: ${messageOf(error.cause)}`);
      throw error;
    }
  }

  /** Makes a version of an archive and adds it, without workers. */
  async #open(request: RegisterRequest): Promise<ModelRuntime> {
    if (this.#shuttingDown) throw new MarlineError('SHUTTING_DOWN');
    const archive = await this.#fetch(request.url);
    let runtime: ModelRuntime;
    try {
      runtime = this.#add(request, archive, await modelBytesOf(archive));
    } catch (error) {
      await archive.release();
      throw error;
    }
    for (const warning of runtime.settings.warnings) this.#logger.warn(`Model ${runtime.name}: ${warning}`);
    this.changed();
    return runtime;
  }

  /** @returns the version whose place it took */
  async #takeOver(runtime: ModelRuntime, request: RegisterRequest): Promise<string | undefined> {
    const { name, version } = runtime;
    const own = runtime.settings;
    const range = own.minWorkers > 0 && namesWorkers(request, own.config) ? own : this.get(name).settings;
    try {
      await runtime.scale(range.minWorkers, range.maxWorkers);
      // Meanwhile an operator may have unregistered it.
      this.get(name, version);
    } catch (error) {
      this.forget(runtime);
      await runtime.close(0);
      throw error;
    }
    // Not before this moment, because the default may have changed as well.
    const old = this.get(name);
    if (old === runtime) return undefined;
    this.putInPlace(name, old.version, version);
    await this.unregister(name, old.version);
    return old.version;
  }

  /** What a registration comes to, checked. */
  #resolve(request: RegisterRequest, archive: ModelArchive): Resolved {
    const { name, version } = validateManifest(archive, request);
    if (this.has(name, version)) throw new MarlineError('MODEL_VERSION_EXISTS', { model: name, version });
    const overrides = overridesOf(this.options.models, name, version);
    const runtime = overrides.runtimeType ?? request.runtime;
    const plan = this.handlers.plan(archive, { handler: request.handler, runtime });
    const devices = this.workers.inventory(plan.runs === 'python');
    const machine = { devices, cores: availableParallelism() };
    const settings = resolveSettings(request, archive, this.options, machine, plan.runs, overrides);
    checkIsolation(settings, plan, archive);
    return { name, version, settings, plan };
  }

  #add(request: RegisterRequest, archive: ModelArchive, modelBytes: number): ModelRuntime {
    const { name, version, settings, plan } = this.#resolve(request, archive);
    const runtime = new ModelRuntime(
      { name, version, archive, settings, plan, modelBytes, loadedAtStartup: request.atStartup === true },
      this.#host,
    );
    runtime.reserve();
    this.add(runtime);
    return runtime;
  }

  async #startWorkers(
    runtime: ModelRuntime,
    minWorkers: number,
    maxWorkers: number,
    synchronous: boolean,
  ): Promise<void> {
    try {
      await this.#scale(runtime, minWorkers, maxWorkers, synchronous);
    } catch (error) {
      this.#logFailedStart(error);
      await runtime.scale(0, 0);
      throw error;
    }
  }

  async #scale(
    runtime: ModelRuntime,
    minWorkers: number,
    maxWorkers: number,
    synchronous: boolean,
  ): Promise<void> {
    const scaled = runtime.scale(minWorkers, maxWorkers);
    if (synchronous) return scaled;
    scaled.catch((error: unknown) => this.#logFailedStart(error));
  }

  #logFailedStart(error: unknown): void {
    this.#logger.error(`${messageOf(error)}: ${messageOf((error as Error).cause)}`);
  }

  async #startupModels(): Promise<{ url: string; modelName?: string }[]> {
    if (this.options.loadModels.includes('all')) return (await this.store.list()).map((url) => ({ url }));
    return this.options.loadModels.map((entry) => {
      const [, modelName, url] = /^([^=]+)=(.+)$/.exec(entry) ?? [];
      return modelName === undefined || url === undefined ? { url: entry } : { url, modelName };
    });
  }
}

/** The model and its external data; nothing tells them apart before the file is read, so all of the archive counts. */
async function modelBytesOf(archive: ModelArchive): Promise<number> {
  const file = (await modelFile(archive).catch(() => undefined)) ?? archive.manifest.model.serializedFile;
  return file === undefined ? 0 : folderBytes(archive.dir);
}
