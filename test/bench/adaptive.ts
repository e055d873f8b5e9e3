/** In-process throughput with learned batch sizes beside batch size 1. See main.ts. */
import { type BenchModel } from './peers/models.js';
import type { Calls, InProcessOptions } from './in-process-server.js';
import { Workshop, inputsOf } from './suite/archives.js';
import { Child } from './suite/child.js';
import type { Aim, BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(2);
const WARM_UP_SECONDS = 4;
const WORKERS = 2;

/** Calls under way at a time, and the largest batch that may be learned. */
const LOADS: Readonly<Record<string, { readonly concurrency: number; readonly batchSize: number }>> = {
  mlp: { concurrency: 64, batchSize: 64 },
  cnn: { concurrency: 16, batchSize: 8 },
  efficientnet: { concurrency: 16, batchSize: 8 },
  resnet50: { concurrency: 16, batchSize: 8 },
};

/** `alone`: batch size 1 with a call under way for each worker, so that nothing can be grouped on the way either. */
const WAYS = ['alone', 'fixed', 'adaptive'] as const;
type Way = (typeof WAYS)[number];

export default function adaptive(): Promise<BenchResult> {
  const models = chosenModels(Object.keys(LOADS));
  return Workshop.use(async (workshop) => {
    const names = models.flatMap(({ name }) => [`${name}-fixed`, `${name}-adaptive`]);
    const { folder: modelStore, cacheDir } = workshop;
    const options: InProcessOptions = { modelStore, cacheDir, models: names };
    const child = await Child.start('in-process-server.ts', options);
    try {
      for (const model of models) {
        const { batchSize } = LOADS[model.name]!;
        const fixed = await workshop.packModel(model, `${model.name}-fixed`, { batchSize: 1 });
        const learned = { batchSize, marline: { batching: 'adaptive' } };
        const adaptive = await workshop.packModel(model, `${model.name}-adaptive`, learned);
        for (const url of [fixed, adaptive]) await child.ask('register', { url, workers: WORKERS });
      }
      const pairs = models.flatMap((model) => WAYS.map((way) => ({ model, way })));
      const perSecond = async (model: BenchModel, way: Way, seconds: number) => {
        const { requests, seconds: took } = await child.ask<Calls>('call', {
          model: `${model.name}-${way === 'adaptive' ? 'adaptive' : 'fixed'}`,
          inputs: inputsOf(model),
          concurrency: way === 'alone' ? WORKERS : LOADS[model.name]!.concurrency,
          seconds,
        });
        return requests / took;
      };
      for (const { model, way } of pairs) await perSecond(model, way, WARM_UP_SECONDS);
      const samples = new Samples();
      await interleave(pairs, async ({ model, way }) => {
        samples.add(`${model.name} ${way}`, await perSecond(model, way, SECONDS));
      });
      return report(models, samples);
    } finally {
      await child.stop();
    }
  });
}

function report(models: readonly BenchModel[], samples: Samples): BenchResult {
  const gain = ({ name }: BenchModel, over: Way) =>
    samples.pair(`${name} adaptive`, `${name} ${over}`, (learned, other) => learned / other);
  return {
    name: 'adaptive',
    title: 'Batch sizes that are learned',
    method: [
      'Calls per second of `predict()` in process, two workers: `marline: {batching: adaptive}` beside `batchSize: 1`, both of this',
      `version, ${models.map(({ name, title }) => `${LOADS[name]?.concurrency} calls under way for ${title} (batches up to ${LOADS[name]?.batchSize})`).join(', ')}.`,
      'Batch size 1 hands waiting requests to a worker in groups too, and then runs them one by one; with only two calls under way',
      'there is nothing to group, which is what batch size 1 costs by itself.',
    ],
    rounds: ROUNDS,
    aims: models.map(({ name, title }, at): Aim => {
      const values = gain(models[at]!, 'fixed');
      return name === 'mlp'
        ? { what: `${title}: adaptive ÷ batch size 1`, sign: '≥', asked: 3, unit: ' ×', values }
        : {
            what: `${title}: adaptive ÷ batch size 1, at least as fast in a quarter of the rounds`,
            sign: '≥',
            asked: 1,
            unit: ' ×',
            values,
            judgedAt: 0.75,
          };
    }),
    tables: [
      {
        columns: [
          'calls/s',
          'batch size 1, two calls',
          'batch size 1',
          'adaptive',
          '÷ two calls',
          '÷ batch size 1',
        ],
        rows: models.map((model) => ({
          title: model.title,
          cells: [
            ...WAYS.map((way) => samples.of(`${model.name} ${way}`)),
            gain(model, 'alone'),
            gain(model, 'fixed'),
          ],
        })),
      },
    ],
  };
}
