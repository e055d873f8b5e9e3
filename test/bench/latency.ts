/** Added latency at one connection, p50, above the raw loop R of the same round: in process and over HTTP. See main.ts. */
import { readFileSync } from 'node:fs';
import { SERVERS } from './peers/folders.js';
import { writeSpec, type BenchModel } from './peers/models.js';
import { marlineThreads } from './peers/peers/marline.js';
import type { Calls, InProcessOptions } from './in-process-server.js';
import { Workshop, inputsOf } from './suite/archives.js';
import { Child } from './suite/child.js';
import { startStandalone } from './suite/standalone.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(1);
const WARM_UP_SECONDS = 2;
const NAMES = ['mlp', 'cnn', 'efficientnet'];

/** One way to ask a model: its p50 in milliseconds. */
interface Way {
  readonly model: BenchModel;
  readonly name: 'R' | 'bare thread' | 'in process' | 'over HTTP';
  readonly p50: (seconds: number) => Promise<number>;
}

export default function latency(): Promise<BenchResult> {
  const models = chosenModels(NAMES);
  return Workshop.use(async (workshop) => {
    const { folder: modelStore, cacheDir } = workshop;
    const options: InProcessOptions = { modelStore, cacheDir, models: models.map(({ name }) => name) };
    const child = await Child.start('in-process-server.ts', options);
    try {
      const samples = new Samples();
      const ways: Way[] = [];
      for (const model of models) {
        const url = await workshop.packModel(model);
        await child.ask('register', { url, workers: 2 });
        ways.push(...inProcess(child, model), await overHttp(model));
      }
      for (const way of ways) await way.p50(WARM_UP_SECONDS);
      await interleave(ways, async ({ model, name, p50 }) => {
        samples.add(`${model.name} ${name}`, await p50(SECONDS));
      });
      return report(models, samples);
    } finally {
      await child.stop();
    }
  });
}

function inProcess(child: Child, model: BenchModel): Way[] {
  const job: unknown = JSON.parse(readFileSync(writeSpec(model), 'utf8'));
  const raw = { model: model.file, program: `file://${SERVERS}raw-loop.mjs`, job };
  const bare = { model: model.file, program: `file://${SERVERS}bare-threads.mjs`, inputs: inputsOf(model) };
  const call = { model: model.name, inputs: inputsOf(model), concurrency: 1 };
  return [
    {
      model,
      name: 'R',
      p50: async (seconds) => (await child.ask<Calls>('raw', { ...raw, seconds })).p50,
    },
    {
      model,
      name: 'bare thread',
      p50: async (seconds) => (await child.ask<Calls>('bare', { ...bare, seconds })).p50,
    },
    {
      model,
      name: 'in process',
      p50: async (seconds) => (await child.ask<Calls>('call', { ...call, seconds })).p50,
    },
  ];
}

async function overHttp(model: BenchModel): Promise<Way> {
  const { server } = await startStandalone(marlineThreads, model);
  return {
    model,
    name: 'over HTTP',
    p50: async (seconds) => {
      const { errors, p50 } = await server.load(1, seconds, () => {});
      if (errors > 0) throw new Error(`${errors} failed requests to ${model.name}: the run is void.`);
      return p50;
    },
  };
}

function report(models: readonly BenchModel[], samples: Samples): BenchResult {
  const added = (model: BenchModel, way: Way['name']) =>
    samples.pair(`${model.name} ${way}`, `${model.name} R`, (own, raw) => (own - raw) * 1000);
  const aim = (way: Way['name'], asked: number) =>
    models.map((model) => ({
      what: `${model.title}: added latency ${way}, p50`,
      sign: '≤' as const,
      asked,
      unit: ' µs',
      values: added(model, way),
    }));
  return {
    name: 'latency',
    title: 'Added latency at one connection',
    method: [
      'One caller that waits for each answer. R is `session.run()` in a loop of a worker thread of the same process and niceness,',
      'making the tensor included; a bare thread, as nice, has a session and nothing else, and is asked by a message of the main thread,',
      'which waits for the one with the answer: the least that a model off the main thread can take; in process is `predict()` of what `@InjectModel` gives, in a Nest application without any door,',
      'from tensors to tensors; over HTTP is the standalone server asked by wrk, with JSON for the MLP and 600 KB of raw numbers',
      'for the images. p50 of each round.',
    ],
    rounds: ROUNDS,
    aims: [...aim('in process', 100), ...aim('over HTTP', 300)],
    tables: [
      {
        columns: [
          'model',
          'R, ms',
          'bare thread, ms',
          'in process, ms',
          'over HTTP, ms',
          'bare thread − R, µs',
          'in process − R, µs',
          'over HTTP − R, µs',
        ],
        rows: models.map((model) => ({
          title: model.title,
          cells: [
            ...(['R', 'bare thread', 'in process', 'over HTTP'] as const).map((way) =>
              samples.of(`${model.name} ${way}`),
            ),
            added(model, 'bare thread'),
            added(model, 'in process'),
            added(model, 'over HTTP'),
          ],
        })),
      },
    ],
  };
}
