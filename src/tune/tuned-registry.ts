import { Module, type DynamicModule, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ModelStore, parseModelConfig, type ModelArchive } from '#libs/archive';
import { InferenceObserver, type ModelRef, type RequestTimings } from '#libs/common';
import { InferenceModule } from '#libs/inference';
import { MarlineOptions } from '#libs/serve';
import type { RunTimes } from './batch-cost.js';
import type { MeasurementOrder } from './measurement.js';

/** Opens archives with another configuration than their own, and so serves them exactly as it will once it is theirs. */
class ConfiguredStore extends ModelStore {
  constructor(
    options: { readonly modelStore: string; readonly cacheDir: string },
    private readonly config: string,
  ) {
    super(options);
  }

  override async open(url: string): Promise<ModelArchive> {
    return { ...(await super.open(url)), config: parseModelConfig(this.config) };
  }
}

/** Enough for a quartile; a fast model has more runs than anyone wants to keep. */
const MOST_TIMES = 2000;

/** How long runs took, by their number of items. */
export class RunTimesObserver extends InferenceObserver {
  readonly #times = new Map<number, number[]>();

  override requestFinished(_ref: ModelRef, _id: string, { batchSize, runMs }: RequestTimings): void {
    const times = this.#times.get(batchSize) ?? [];
    if (times.length === 0) this.#times.set(batchSize, times);
    if (times.length < MOST_TIMES) times.push(runMs);
  }

  /** Forgets what was seen so far: the first runs of a worker are slower. */
  clear(): void {
    this.#times.clear();
  }

  result(): RunTimes[] {
    return [...this.#times].map(([items, times]) => ({
      items,
      runs: Math.ceil(times.length / items),
      ms: times.toSorted((a, b) => a - b)[Math.floor(times.length / 4)] ?? Number.NaN,
    }));
  }
}

@Module({})
class ConfiguredStoreModule {}

/** A registry without any door, for one archive under one configuration. */
export async function tunedRegistry(
  { modelStore, cacheDir, config, callers }: MeasurementOrder,
  observer: InferenceObserver,
): Promise<INestApplicationContext> {
  const store: DynamicModule = {
    module: ConfiguredStoreModule,
    providers: [{ provide: ModelStore, useValue: new ConfiguredStore({ modelStore, cacheDir }, config) }],
    exports: [ModelStore],
  };
  const inference = InferenceModule.registerAsync({
    imports: [store],
    useFactory: () => Object.assign(new MarlineOptions(), { cacheDir, jobQueueSize: callers, observer }),
  });
  return NestFactory.createApplicationContext(inference, { logger: false, abortOnError: false });
}
