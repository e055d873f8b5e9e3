/**
 * What a configuration says of one version of a model: TorchServe's key `models`. The archive's own `model-config.yaml` wins, and so does a
 * registration, but for time-outs and runtime.
 * @publicApi
 */
export interface VersionOverrides {
  /** Workers at the start; only together with `maxWorkers`, and only for the models of the start-up list. */
  readonly minWorkers?: number;
  readonly maxWorkers?: number;
  readonly batchSize?: number;
  /** Milliseconds. */
  readonly maxBatchDelay?: number;
  /** Seconds. */
  readonly responseTimeout?: number;
  /** Seconds. */
  readonly startupTimeout?: number;
  readonly runtimeType?: string;
}

/** By the name under which a model is registered, then by its version. @publicApi */
export type ModelOverrides = Readonly<Record<string, Readonly<Record<string, VersionOverrides>>>>;

const NUMBERS = [
  'minWorkers',
  'maxWorkers',
  'batchSize',
  'maxBatchDelay',
  'responseTimeout',
  'startupTimeout',
] as const satisfies (keyof VersionOverrides)[];

/** What is said of this version. As in TorchServe, numbers that are none, or not above 0, are passed over. */
export function overridesOf(models: ModelOverrides, name: string, version: string): VersionOverrides {
  const said = own(own(models, name), version);
  const numbers = NUMBERS.flatMap((key) => {
    const value = own(said, key);
    return typeof value === 'number' && Number.isInteger(value) && value > 0 ? [[key, value] as const] : [];
  });
  const runtimeType = own(said, 'runtimeType');
  return { ...Object.fromEntries(numbers), ...(typeof runtimeType === 'string' && { runtimeType }) };
}

/** A name may be one that every object has. */
function own(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}
