/** PSS of a gateway process by the number of workers, with shared weights and without. See main.ts. */
import { type BenchModel } from './peers/models.js';
import type { InProcessOptions } from './in-process-server.js';
import { Workshop, inputsOf } from './suite/archives.js';
import { Child } from './suite/child.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave } from './suite/rounds.js';

const COUNTS = [1, 4];
/** What four workers may take of what one takes. */
const ASKED: Readonly<Record<string, number>> = { resnet50: 1.4, minilm: 1.3 };
const FORMS = ['shared', 'one copy each'] as const;
const WARM_UP_SECONDS = 1;

/** One process to start and weigh. */
interface Setup {
  readonly model: BenchModel;
  readonly form: (typeof FORMS)[number];
  readonly workers: number;
}

const nameOf = ({ model, form, workers }: Setup) => `${model.name} ${form} ${workers}`;

export default function memory(): Promise<BenchResult> {
  const models = chosenModels(Object.keys(ASKED));
  return Workshop.use(async (workshop) => {
    for (const model of models) await workshop.packModel(model);
    const setups = models.flatMap((model) =>
      FORMS.flatMap((form) => COUNTS.map((workers) => ({ model, form, workers }))),
    );
    const samples = new Samples();
    await interleave(setups, async (setup) => {
      const { pssMb, privateDirtyMb } = await weigh(workshop, setup);
      samples.add(`${nameOf(setup)} pss`, pssMb);
      samples.add(`${nameOf(setup)} dirty`, privateDirtyMb);
    });
    return report(models, setups, samples);
  });
}

async function weigh({ folder, cacheDir }: Workshop, { model, form, workers }: Setup) {
  const options: InProcessOptions = {
    modelStore: folder,
    cacheDir,
    models: [model.name],
    ...(form === 'shared' ? {} : { shareWeightsAboveBytes: Number.MAX_SAFE_INTEGER }),
  };
  const child = await Child.start('in-process-server.ts', options);
  try {
    await child.ask('register', { url: `${model.name}.mar`, workers });
    await child.ask('call', {
      model: model.name,
      inputs: inputsOf(model),
      concurrency: workers * 2,
      seconds: WARM_UP_SECONDS,
    });
    return await child.ask<{ pssMb: number; privateDirtyMb: number }>('memory');
  } finally {
    await child.stop();
  }
}

function report(models: readonly BenchModel[], setups: readonly Setup[], samples: Samples): BenchResult {
  const growth = (model: BenchModel, form: Setup['form']) => {
    const [one, four] = COUNTS.map((workers) => `${nameOf({ model, form, workers })} pss`);
    return samples.pair(four!, one!, (many, single) => many / single);
  };
  return {
    name: 'memory',
    title: 'Memory by the number of workers',
    method: [
      'A whole process with Nest, Marline and one model, each in a process of its own, after a second of calls to all workers;',
      'megabytes. PSS counts a page that several mappings share once. Weights are shared above 8 MiB by default; how that works',
      'stands in [decision 2](decisions/0002-canary-and-shared-weights.md).',
    ],
    rounds: ROUNDS,
    aims: models.map((model) => ({
      what: `${model.title}: PSS of 4 workers ÷ 1`,
      sign: '≤',
      asked: ASKED[model.name]!,
      unit: ' ×',
      values: growth(model, 'shared'),
    })),
    tables: [
      {
        columns: ['model, weights, workers', 'PSS', 'private dirty'],
        rows: setups.map((setup) => ({
          title: `${setup.model.title}, ${setup.form}, ${setup.workers}`,
          cells: [samples.of(`${nameOf(setup)} pss`), samples.of(`${nameOf(setup)} dirty`)],
        })),
      },
      {
        columns: ['PSS of 4 workers ÷ 1', ...FORMS],
        rows: models.map((model) => ({
          title: model.title,
          cells: FORMS.map((form) => growth(model, form)),
        })),
      },
    ],
  };
}
