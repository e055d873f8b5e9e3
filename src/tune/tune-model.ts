import { messageOf } from '#libs/common';
import { combineRounds, type TuneResult } from './choose-setting.js';
import type { Measurement, MeasurementOrder } from './measurement.js';
import { tuneSettings, type TuneLimits, type TuneSetting } from './tune-settings.js';
import { measuredConfig } from './tuned-config.js';
import type { TuneSource } from './tune-source.js';

/** How a model is tuned. */
export interface TunePlan {
  readonly source: Pick<TuneSource, 'modelStore' | 'archive' | 'cacheDir' | 'ownConfig'>;
  readonly limits: Omit<TuneLimits, 'inputs' | 'singleMs'>;
  readonly input?: MeasurementOrder['input'];
  /** Requests under way at a time; twice what the workers take at once unless given. */
  readonly concurrency?: number;
  readonly rounds: number;
  /** Measured of each setting in each round; longer where a few batches take longer. */
  readonly sliceMs: number;
  readonly measure: (order: MeasurementOrder) => Promise<Measurement>;
  /** True when no further setting is to be measured. */
  readonly isInterrupted: () => boolean;
  readonly announce: (text: string) => void;
}

const FIRST = { batchSize: 1, workers: 1, intraOpThreads: 1 } as const;
/** Enough to know how long one request takes. */
const LOOK_MS = 300;
const WARMUP = { leastMs: 200, mostMs: 1500 } as const;

/**
 * Measures every setting in every round; the rounds go to and fro, so that whatever else the machine does hits all alike.
 * A setting that fails is not tried again.
 * @returns one result per setting, fewer when interrupted; a setting counts with the rounds that it had
 * @throws MarlineError why not even the simplest setting works
 */
export async function tuneModel(plan: TunePlan): Promise<TuneResult[]> {
  const { inputs, p50Ms: singleMs } = await plan.measure(orderOf(plan, FIRST, 0));
  const settings = tuneSettings({ ...plan.limits, inputs, singleMs });
  plan.announce(
    `one request alone takes ${singleMs.toPrecision(3)} ms; ${settings.length} settings, ${plan.rounds} rounds`,
  );
  const rounds = new Map<TuneSetting, Measurement[]>();
  const failures = new Map<TuneSetting, string>();
  for (let round = 0; round < plan.rounds && !plan.isInterrupted(); round++) {
    plan.announce(`round ${round + 1} of ${plan.rounds}`);
    for (const setting of round % 2 === 0 ? settings : settings.toReversed()) {
      if (failures.has(setting)) continue;
      try {
        const measurement = await plan.measure(orderOf(plan, setting, singleMs));
        rounds.set(setting, [...(rounds.get(setting) ?? []), measurement]);
      } catch (error) {
        if (plan.isInterrupted()) break;
        failures.set(setting, messageOf(error));
      }
    }
  }
  return settings.flatMap((setting) => {
    const callers = callersOf(plan, setting);
    const [failure, measured] = [failures.get(setting), rounds.get(setting)];
    if (failure !== undefined) return [{ setting, callers, failure }];
    return measured === undefined ? [] : [combineRounds(setting, callers, measured)];
  });
}

function orderOf(plan: TunePlan, setting: TuneSetting, singleMs: number): MeasurementOrder {
  const { source, input, sliceMs } = plan;
  const callers = setting === FIRST ? 1 : callersOf(plan, setting);
  const batchMs = setting.batchSize * singleMs;
  return {
    modelStore: source.modelStore,
    archive: source.archive,
    cacheDir: source.cacheDir,
    config: measuredConfig(source.ownConfig, setting, callers),
    input,
    callers,
    warmupMs: Math.min(WARMUP.mostMs, Math.max(WARMUP.leastMs, 2 * batchMs)),
    durationMs: setting === FIRST ? LOOK_MS : Math.max(sliceMs, 2 * batchMs),
  };
}

function callersOf({ concurrency }: TunePlan, { workers, batchSize }: TuneSetting): number {
  return concurrency ?? 2 * workers * batchSize;
}
