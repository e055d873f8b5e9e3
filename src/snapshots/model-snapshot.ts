import { basename } from 'node:path';
import { MarlineError } from '#libs/common';
import { isWeight } from '#libs/inference';
import type { ModelRegistry } from '#libs/serve';

const DEFAULT_BATCH_DELAY_MS = 100;

/** One version as a snapshot has it: TorchServe's fields, and the whole `modelUrl`. */
export interface VersionSnapshot {
  readonly defaultVersion: boolean;
  /** The last part of the url: all that TorchServe remembers. */
  readonly marName: string;
  /** Ours; absent in snapshots of TorchServe. */
  readonly modelUrl?: string;
  readonly minWorkers: number;
  readonly maxWorkers: number;
  readonly batchSize: number;
  /** Milliseconds. */
  readonly maxBatchDelay: number;
  /** Ours: false while `maxBatchDelay` is only the default. */
  readonly waitsForBatch?: boolean;
  /** Seconds. */
  readonly responseTimeout: number;
  /** Seconds. */
  readonly startupTimeout: number;
  readonly runtimeType: string;
  /** Ours: its weight where the requests of the model are split. */
  readonly trafficWeight?: number;
}

/** TorchServe's `model_snapshot`: what is served, by name and version. */
export interface ModelSnapshot {
  readonly name: string;
  readonly modelCount: number;
  /** In milliseconds since 1970. */
  readonly created: number;
  readonly models: Readonly<Record<string, Readonly<Record<string, VersionSnapshot>>>>;
}

/** What is served now. */
export function takeSnapshot(registry: ModelRegistry, name: string, created: number): ModelSnapshot {
  const models = registry.names().map((model) => {
    const byDefault = registry.defaultVersion(model);
    const weights = registry.traffic(model);
    const versions = registry.versions(model).map(({ version, settings, archive }) => [
      version,
      {
        defaultVersion: version === byDefault,
        marName: basename(archive.url),
        modelUrl: archive.url,
        minWorkers: settings.minWorkers,
        maxWorkers: settings.maxWorkers,
        batchSize: settings.batchSize,
        maxBatchDelay: settings.maxBatchDelay,
        waitsForBatch: settings.waitsForBatch,
        responseTimeout: settings.responseTimeout,
        startupTimeout: settings.startupTimeout,
        runtimeType: settings.runtime,
        trafficWeight: weights?.[version],
      } satisfies VersionSnapshot,
    ]);
    return [model, Object.fromEntries(versions)] as const;
  });
  return {
    name,
    modelCount: registry.all().length,
    created,
    models: Object.fromEntries(models),
  };
}

/**
 * Registers what a snapshot has, with its numbers; workers start in the background. A version that cannot be registered is a start-up
 * failure of the registry, and leaves the others alone.
 */
export async function restoreSnapshot(registry: ModelRegistry, { models }: ModelSnapshot): Promise<void> {
  for (const [modelName, versions] of Object.entries(models)) {
    for (const [version, saved] of Object.entries(versions)) {
      const runtime = await registry.registerAtStart({
        url: saved.modelUrl ?? saved.marName,
        modelName,
        runtime: saved.runtimeType,
        batchSize: saved.batchSize,
        maxBatchDelay: waits(saved) ? saved.maxBatchDelay : undefined,
        responseTimeout: saved.responseTimeout,
        startupTimeout: saved.startupTimeout,
        initialWorkers: 0,
        synchronous: false,
      });
      if (runtime === undefined) continue;
      await registry.scale(modelName, runtime.version, saved.minWorkers, saved.maxWorkers, {
        synchronous: false,
      });
      if (saved.defaultVersion && runtime.version === version) registry.setDefault(modelName, version);
    }
    restoreTraffic(registry, modelName, versions);
  }
}

/** Between the versions that came back; when none of those with a weight did, there is no split any more. */
function restoreTraffic(
  registry: ModelRegistry,
  model: string,
  versions: Readonly<Record<string, VersionSnapshot>>,
): void {
  const served = registry.names().includes(model) ? registry.versions(model) : [];
  const weights = served.flatMap(({ version }) => {
    const weight = Object.hasOwn(versions, version) ? versions[version]?.trafficWeight : undefined;
    return weight === undefined ? [] : [[version, weight] as const];
  });
  if (weights.some(([, weight]) => weight > 0)) registry.setTraffic(model, Object.fromEntries(weights));
}

/** A snapshot of TorchServe does not tell its default from the same number that was asked for. */
function waits({ maxBatchDelay, waitsForBatch }: VersionSnapshot): boolean {
  return waitsForBatch ?? maxBatchDelay !== DEFAULT_BATCH_DELAY_MS;
}

/**
 * Reads the value of `model_snapshot`.
 * @throws MarlineError `OPTIONS_INVALID` when it is no snapshot
 */
export function parseSnapshot(text: string): ModelSnapshot {
  try {
    const snapshot = JSON.parse(text) as ModelSnapshot;
    for (const versions of Object.values(snapshot.models))
      for (const { marName, minWorkers, maxWorkers, trafficWeight = 0 } of Object.values(versions)) {
        if (typeof marName !== 'string' || !(minWorkers >= 0 && maxWorkers >= minWorkers))
          throw new Error('a version lacks its marName or its numbers of workers');
        if (!isWeight(trafficWeight)) throw new Error(`${trafficWeight} is no trafficWeight`);
      }
    return snapshot;
  } catch (cause) {
    const reason =
      'model_snapshot is no snapshot of models. Remove it, name another file with --ts-config, or start with --ncs.';
    throw new MarlineError('OPTIONS_INVALID', { reason }, { cause });
  }
}
