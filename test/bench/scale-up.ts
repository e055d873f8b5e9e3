/** How long one more worker takes to serve, by the parts that it is made of. See main.ts. */
import type { InProcessOptions, ScaleUp } from './in-process-server.js';
import { Workshop, inputsOf } from './suite/archives.js';
import { Child } from './suite/child.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave } from './suite/rounds.js';

const NAMES = ['minilm', 'resnet50'];
const ASKED_MS = 100;

const STEPS: Readonly<Record<keyof ScaleUp, string>> = {
  total: 'in all: the call of `scale()` to its end, when the worker serves',
  call: 'runtime: the call until the worker is made',
  start: 'worker: made until loaded',
  told: 'runtime: loaded until the caller is told',
  cpu: 'CPU of the whole process meanwhile',
  first: "the new worker's first answer, both workers busy",
  later: 'an answer of one worker alone',
};

export default function scaleUp(): Promise<BenchResult> {
  const models = chosenModels(NAMES);
  return Workshop.use(async (workshop) => {
    const { folder: modelStore, cacheDir } = workshop;
    const options: InProcessOptions = { modelStore, cacheDir, models: models.map(({ name }) => name) };
    const child = await Child.start('in-process-server.ts', options);
    try {
      for (const model of models) {
        const url = await workshop.packModel(model);
        await child.ask('register', { url, workers: 1 });
        // The second worker of a model is never the first to map its weights.
        await child.ask('scaleUp', { model: model.name, inputs: inputsOf(model) });
      }
      const samples = new Samples();
      await interleave(models, async (model) => {
        const order = { model: model.name, inputs: inputsOf(model) };
        const took = await child.ask<ScaleUp>('scaleUp', order);
        for (const [step, ms] of Object.entries(took)) samples.add(`${model.name} ${step}`, ms as number);
      });
      return {
        name: 'scale-up',
        title: 'Scale-up',
        method: [
          'One worker more of a model whose weights all workers share and that may grow, in a process that serves it already: `scale(1, 2)`,',
          '2.5 s, `scale(2, 2)`, a call of both workers, `scale(1, 1)`; milliseconds.',
        ],
        rounds: ROUNDS,
        aims: models.map(({ name, title }) => ({
          what: `${title}: one more worker serves after`,
          sign: '<',
          asked: ASKED_MS,
          unit: ' ms',
          values: samples.of(`${name} total`),
        })),
        tables: [
          {
            columns: ['', ...models.map(({ title }) => title)],
            rows: Object.entries(STEPS).map(([step, title]) => ({
              title,
              cells: models.map(({ name }) => samples.of(`${name} ${step}`)),
            })),
          },
        ],
      };
    } finally {
      await child.stop();
    }
  });
}
