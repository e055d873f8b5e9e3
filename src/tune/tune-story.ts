import { createRequire } from 'node:module';
import { VERSION } from '#libs/common';
import { machineName } from '../load/bench-report.js';
import { amount } from '../load/bench-table.js';
import type { TuneChoice } from './choose-setting.js';
import { settingName } from './tune-settings.js';

/** A spread between the rounds above this share says more about the machine than about the model. */
const NOISY = 0.1;

/**
 * How a setting was found, in sentences for the head of the file that it is written to: the place, the figures, the
 * reason, the cost of batches, and what the figures leave out.
 */
export function tuneStory(
  model: string,
  { best, reason }: TuneChoice,
  batchCost: string | undefined,
  madeUpInput: boolean,
): string[] {
  const { throughput, p50Ms, p99Ms, cpuMsPerRequest, peakRssMb, spread } = best.measured;
  const onnxRuntime = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  return [
    `Measured by marline tune ${VERSION}: ${machineName()}, Node.js ${process.versions.node}, ONNX Runtime ${onnxRuntime.version}.`,
    `${model}, ${settingName(best.setting)}, ${best.callers} callers: ${amount(throughput)} requests/s, p50 ${amount(p50Ms)} ms, ` +
      `p99 ${amount(p99Ms)} ms, ${amount(cpuMsPerRequest)} ms of CPU a request, ${peakRssMb.toFixed(0)} MB at most.`,
    `Reason: ${reason}.`,
    ...(spread > NOISY
      ? [
          `Its rounds differ by ±${Math.round(100 * spread)} %: something else kept the machine busy, so measure again before you rely on it.`,
        ]
      : []),
    ...(batchCost === undefined ? [] : [`So placed, ${batchCost}.`]),
    ...(madeUpInput
      ? [
          'The inputs were tensors made for the model: a handler that decodes requests costs more (--input FILE measures it).',
        ]
      : []),
  ];
}
