import { Injectable } from '@nestjs/common';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { ModelRegistry, type ModelRuntime, type ModelStatus } from '#libs/inference';

/** How one model stands, as the health routes show it. @publicApi */
export interface ModelHealth {
  /** The version that the state is about. */
  readonly version?: string;
  readonly state: ModelStatus['status'] | 'not loaded';
  readonly readyWorkers: number;
  /** Why it is not ready. */
  readonly message?: string;
}

/**
 * Readiness for the application's own terminus route.
 *
 * @example
 * @Get('health') @HealthCheck()
 * check() { return this.health.check([() => this.marline.ready('models'), …]); }
 * @publicApi
 */
@Injectable()
export class MarlineHealthIndicator {
  readonly #wereReady = new WeakSet<ModelRuntime>();

  constructor(
    private readonly registry: ModelRegistry,
    private readonly indicators: HealthIndicatorService,
  ) {}

  /** Up when every model that counts is ready, with the state of each; down from the moment the application stops. */
  ready<Key extends string = 'marline'>(key: Key = 'marline' as Key): HealthIndicatorResult<Key> {
    const session = this.indicators.check(key);
    if (this.registry.shuttingDown) return session.down({ message: 'The server is shutting down.' });
    const counted = this.counted();
    const states = Object.fromEntries([...counted].map(([name, { state }]) => [name, state]));
    return [...counted.values()].every(isUp)
      ? session.up({ models: states })
      : session.down({ models: states });
  }

  /**
   * Up when the model's default version is ready, or has no workers because nobody asked for any.
   * @throws MarlineError `MODEL_NOT_FOUND`
   */
  model(name: string): HealthIndicatorResult {
    return this.result(name, healthOf(this.registry.get(name)));
  }

  /** Down from the moment the application stops. */
  serving(): HealthIndicatorResult {
    const session = this.indicators.check('server');
    return this.registry.shuttingDown
      ? session.down({ message: 'The server is shutting down.' })
      : session.up();
  }

  /** One result per model that counts for readiness. */
  models(): HealthIndicatorResult[] {
    return [...this.counted()].map(([name, health]) => this.result(name, health));
  }

  /**
   * The models that decide whether this server is ready: those of the start-up list, and any other version from the first
   * time it is seen ready. One that is being added does not take a serving machine out of service, nor does one that never works.
   */
  private counted(): ReadonlyMap<string, ModelHealth> {
    const counted = new Map<string, ModelHealth>();
    for (const [name, error] of this.registry.startupFailures) {
      if (!this.registry.names().includes(name))
        counted.set(name, { state: 'not loaded', readyWorkers: 0, message: error.message });
    }
    for (const runtime of this.registry.all()) {
      const health = healthOf(runtime);
      if (health.state === 'ready') this.#wereReady.add(runtime);
      if (!runtime.loadedAtStartup && !this.#wereReady.has(runtime)) continue;
      const known = counted.get(runtime.name);
      if (known === undefined || isUp(known)) counted.set(runtime.name, health);
    }
    return counted;
  }

  private result(name: string, health: ModelHealth): HealthIndicatorResult {
    const session = this.indicators.check(name);
    return isUp(health) ? session.up({ ...health }) : session.down({ ...health });
  }
}

function healthOf(runtime: ModelRuntime): ModelHealth {
  const { status, readyWorkers, error } = runtime.status();
  return {
    version: runtime.version,
    state: status,
    readyWorkers,
    ...(error === undefined ? {} : { message: error.message }),
  };
}

function isUp({ state }: ModelHealth): boolean {
  return state === 'ready' || state === 'stopped';
}
