/** The first GPU: runs of ONNX Runtime by batch size beside the CPU, and Marline in process beside them. See main.ts. */
import { execFileSync } from 'node:child_process';
import { detectDevices } from '#libs/inference';
import { median } from './peers/comparison.js';
import type { BenchModel } from './peers/models.js';
import type { Calls, InProcessOptions } from './in-process-server.js';
import type { LoopOrder, LoopTimes } from './session-loop.js';
import { Workshop, inputsOf } from './suite/archives.js';
import { Child } from './suite/child.js';
import { slopeOf } from './suite/line.js';
import type { BenchResult, ResultTable } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(1);
const WARM_UP_SECONDS = 1;
const NAMES = ['mlp', 'cnn', 'efficientnet', 'minilm', 'resnet50'];
const BATCHES = [1, 8, 32, 64];
/** A CPU gains little from batches. */
const CPU_BATCHES = [1, 8];
const CONCURRENCY = 128;

/** How a model is served, all on `cuda:0`. */
interface Way {
  readonly name: string;
  readonly workers: number;
  readonly config: { readonly batchSize: number; readonly maxBatchDelay?: number };
  readonly batching?: 'adaptive';
}
const WAYS: readonly Way[] = [
  { name: 'batches of 1', workers: 1, config: { batchSize: 1 } },
  { name: 'up to 8', workers: 1, config: { batchSize: 8, maxBatchDelay: 5 } },
  { name: 'up to 32', workers: 1, config: { batchSize: 32, maxBatchDelay: 5 } },
  { name: 'up to 64', workers: 1, config: { batchSize: 64, maxBatchDelay: 5 } },
  { name: 'up to 64, adaptive', workers: 1, config: { batchSize: 64 }, batching: 'adaptive' },
  { name: 'up to 64, adaptive, 2 workers', workers: 2, config: { batchSize: 64 }, batching: 'adaptive' },
  { name: 'up to 64, adaptive, 4 workers', workers: 4, config: { batchSize: 64 }, batching: 'adaptive' },
];

export default async function gpu(): Promise<BenchResult> {
  const [graphics] = (await detectDevices()).filter(
    ({ kind, onlyPython }) => kind === 'gpu' && onlyPython !== true,
  );
  if (graphics === undefined)
    throw new Error('There is no GPU that ONNX Runtime can use: see docs/operations.md, Where a model runs.');
  const models = chosenModels(NAMES);
  const runs = await measureRuns(models);
  const served = await measureServed(models);
  return {
    name: 'gpu',
    title: 'On a GPU',
    method: [
      `${describeGpu()}. A loop of runs of ONNX Runtime with the options of Marline's workers, tensors in and out of the`,
      `host's memory, one session; medians of the runs of ${SECONDS} s. Marline: calls per second of \`predict()\` in process with`,
      `${CONCURRENCY} calls under way, from tensors to tensors; fixed batches wait up to 5 ms to fill, those of \`batching: adaptive\` do not wait.`,
    ],
    rounds: ROUNDS,
    aims: [],
    tables: [
      runTable(models, runs),
      lineTable(models, runs),
      servedTable(models, runs, served),
      memoryTable(models, served),
    ],
  };
}

/** Milliseconds by `MODEL DEVICE BATCH`, and the largest difference of answers by model. */
async function measureRuns(models: readonly BenchModel[]): Promise<Samples> {
  const samples = new Samples();
  const child = await Child.start('session-loop.ts', {});
  try {
    const cases = models.flatMap((model) => {
      const order = { model: model.name, file: model.file, inputs: inputsOf(model) };
      return (['cpu', 'cuda:0'] as const).flatMap((device) =>
        (device === 'cpu' ? CPU_BATCHES : BATCHES).map((items): LoopOrder => ({ ...order, device, items })),
      );
    });
    for (const one of cases) await child.ask('time', { ...one, seconds: SECONDS / 2 });
    for (const one of cases.filter(({ device, items }) => device === 'cpu' && items === 8)) {
      const onCpu = await child.ask<Float32Array>('answer', one);
      const onGpu = await child.ask<Float32Array>('answer', { ...one, device: 'cuda:0' });
      const largest = Math.max(...onCpu.map(Math.abs));
      samples.add(
        `${one.model} difference`,
        (1e6 * Math.max(...onCpu.map((value, at) => Math.abs(value - (onGpu[at] ?? NaN))))) / largest,
      );
    }
    await interleave(cases, async (one) => {
      const { times, changeMs } = await child.ask<LoopTimes>('time', { ...one, seconds: SECONDS });
      if (changeMs !== undefined) samples.add(`${one.model} ${one.device} change`, changeMs);
      samples.add(`${one.model} ${one.device} ${one.items}`, median(times));
    });
    return samples;
  } finally {
    await child.stop();
  }
}

/** Calls per second by `MODEL WAY`. */
function measureServed(models: readonly BenchModel[]): Promise<Samples> {
  return Workshop.use(async (workshop) => {
    const { folder: modelStore, cacheDir } = workshop;
    const samples = new Samples();
    const pairs = models.flatMap((model) =>
      WAYS.map((way, at) => ({ model, way, name: `${model.name}-${at}` })),
    );
    const options: InProcessOptions = { modelStore, cacheDir, models: pairs.map(({ name }) => name) };
    const child = await Child.start('in-process-server.ts', options);
    try {
      for (const { model, way, name } of pairs) {
        const marline = { devices: ['cuda:0'], ...(way.batching && { batching: way.batching }) };
        const url = await workshop.packModel(model, name, {
          jobQueueSize: CONCURRENCY,
          ...way.config,
          marline,
        });
        const before = usedMb();
        await child.ask('register', { url, workers: way.workers });
        samples.add(`${model.name} ${way.name} MB`, (usedMb() - before) / way.workers);
      }
      const perSecond = async ({ model, name }: (typeof pairs)[number], seconds: number) => {
        const order = { model: name, inputs: inputsOf(model), concurrency: CONCURRENCY, seconds };
        const { requests, seconds: took } = await child.ask<Calls>('call', order);
        return requests / took;
      };
      for (const pair of pairs) {
        const before = usedMb();
        await perSecond(pair, WARM_UP_SECONDS);
        samples.add(`${pair.model.name} ${pair.way.name} MB more`, (usedMb() - before) / pair.way.workers);
      }
      await interleave(pairs, async (pair) => {
        samples.add(`${pair.model.name} ${pair.way.name}`, await perSecond(pair, SECONDS));
      });
      return samples;
    } finally {
      await child.stop();
    }
  });
}

function runTable(models: readonly BenchModel[], runs: Samples): ResultTable {
  return {
    columns: [
      'ms per run',
      ...CPU_BATCHES.map((items) => `CPU, one thread, ${items}`),
      ...BATCHES.map((items) => `GPU, ${items}`),
      'GPU, first run of another size',
      'largest difference, millionths of the largest number',
    ],
    rows: models.map(({ name, title }) => ({
      title,
      cells: [
        ...CPU_BATCHES.map((items) => runs.of(`${name} cpu ${items}`)),
        ...BATCHES.map((items) => runs.of(`${name} cuda:0 ${items}`)),
        runs.of(`${name} cuda:0 change`),
        runs.of(`${name} difference`),
      ],
    })),
  };
}

/** `duration = a·n + b`, of each round. */
function lineTable(models: readonly BenchModel[], runs: Samples): ResultTable {
  return {
    columns: ['GPU, duration = a·n + b', 'a, ms', 'b, ms', 'items/s, 1', 'items/s, 64'],
    rows: models.map(({ name, title }) => {
      const byBatch = BATCHES.map((items) => runs.of(`${name} cuda:0 ${items}`));
      const lines = byBatch[0]!.map((_, round) => {
        const durations = byBatch.map((values) => values[round] ?? NaN);
        const slope = slopeOf(BATCHES, durations);
        const mean = (values: readonly number[]) =>
          values.reduce((sum, value) => sum + value, 0) / values.length;
        return { slope, base: mean(durations) - slope * mean(BATCHES) };
      });
      const perSecond = (items: number) =>
        runs.of(`${name} cuda:0 ${items}`).map((ms) => (1000 * items) / ms);
      return {
        title,
        cells: [lines.map(({ slope }) => slope), lines.map(({ base }) => base), perSecond(1), perSecond(64)],
      };
    }),
  };
}

function servedTable(models: readonly BenchModel[], runs: Samples, served: Samples): ResultTable {
  return {
    columns: ['calls/s', ...WAYS.map(({ name }) => name), 'best loop of runs, items/s'],
    rows: models.map(({ name, title }) => ({
      title,
      cells: [
        ...WAYS.map((way) => served.of(`${name} ${way.name}`)),
        bestOf(BATCHES.map((items) => runs.of(`${name} cuda:0 ${items}`).map((ms) => (1000 * items) / ms))),
      ],
    })),
  };
}

function bestOf(series: readonly (readonly number[])[]): readonly number[] {
  return series.toSorted((one, other) => median(other) - median(one))[0] ?? [];
}

/** The way with most workers, because it is not the first: CUDA itself takes some hundred megabytes for the process. */
function memoryTable(models: readonly BenchModel[], served: Samples): ResultTable {
  const { name: way } = WAYS[WAYS.length - 1]!;
  return {
    columns: [
      'GPU memory of each of 4 workers',
      'when it is ready, MB',
      'more after batches of up to 64, MB',
    ],
    rows: models.map(({ name, title }) => ({
      title,
      cells: [served.of(`${name} ${way} MB`), served.of(`${name} ${way} MB more`)],
    })),
  };
}

/** Memory in use on the GPU, in MB. */
function usedMb(): number {
  return Number(nvidiaSmi('memory.used')[0]);
}

function nvidiaSmi(fields: string): string[] {
  const argv = [`--query-gpu=${fields}`, '--format=csv,noheader,nounits', '--id=0'];
  return execFileSync('nvidia-smi', argv, { encoding: 'utf8' }).trim().split(', ');
}

function describeGpu(): string {
  const [name, driver, memory] = nvidiaSmi('name,driver_version,memory.total');
  return `${name}, ${memory} MB, driver ${driver}`;
}
