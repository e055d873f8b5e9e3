/** CPU per request of worker processes beside worker threads, over HTTP. See main.ts. */
import { wrk } from './peers/load.js';
import { cpuSeconds } from './peers/process-tree.js';
import type { GatewayOptions } from './gateway-server.js';
import { Workshop, type Body } from './suite/archives.js';
import { Child } from './suite/child.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(2);
const WARM_UP_SECONDS = 3;
const CONNECTIONS = 8;
const ISOLATIONS = ['thread', 'process'] as const;
/** The aim is for bodies of 600 KB; the MLP shows what a hand-over costs by itself. */
const NAMES = ['cnn', 'mlp'];
const ASKED = 1.15;

export default function isolation(): Promise<BenchResult> {
  const models = chosenModels(NAMES);
  return Workshop.use(async (workshop) => {
    const pairs: { model: (typeof models)[number]; isolation: (typeof ISOLATIONS)[number]; body: Body }[] =
      [];
    const loadModels: string[] = [];
    for (const model of models) {
      const body = workshop.bodyOf(model);
      for (const isolation of ISOLATIONS) {
        const config = { marline: { isolation } };
        loadModels.push(await workshop.packModel(model, `${model.name}-${isolation}`, config));
        pairs.push({ model, isolation, body });
      }
    }
    const { folder: modelStore, cacheDir } = workshop;
    const options: GatewayOptions = { modelStore, cacheDir, loadModels };
    const child = await Child.start('gateway-server.ts', options);
    try {
      if (child.pids().length <= models.length) throw new Error('There are no worker processes to measure.');
      const samples = new Samples();
      const measure = async ({ model, isolation, body }: (typeof pairs)[number], seconds: number) => {
        const name = `${model.name}-${isolation}`;
        // Workers of the other models belong to the same tree; without requests they take next to nothing.
        const pids = child.pids();
        const before = cpuSeconds(pids);
        let cpu = 0;
        const load = await wrk(`${child.url}/ml/predictions/${name}`, {
          connections: CONNECTIONS,
          seconds,
          bodyFile: body.file,
          headers: body.headers,
          drained: () => (cpu = cpuSeconds(pids) - before),
        });
        if (load.errors > 0) throw new Error(`${load.errors} failed requests to ${name}: the run is void.`);
        return { cpuMs: (cpu * 1000) / load.requests, perSecond: load.requests / load.seconds };
      };
      for (const pair of pairs) await measure(pair, WARM_UP_SECONDS);
      await interleave(pairs, async (pair) => {
        const { cpuMs, perSecond } = await measure(pair, SECONDS);
        samples.add(`${pair.model.name} ${pair.isolation} cpu`, cpuMs);
        samples.add(`${pair.model.name} ${pair.isolation} per second`, perSecond);
      });
      const cost = (name: string) =>
        samples.pair(`${name} process cpu`, `${name} thread cpu`, (own, threads) => own / threads);
      return {
        name: 'isolation',
        title: 'Worker processes beside worker threads',
        method: [
          '`marline: {isolation: process}` beside the default, in the same gateway: two workers each, 8 connections of wrk; CPU of the',
          'gateway and all its worker processes. 600 KB of raw numbers for the CNN, JSON of 128 numbers for the MLP.',
        ],
        rounds: ROUNDS,
        aims: models
          .filter(({ body }) => body === 'binary')
          .map(({ name, title }) => ({
            what: `${title}: CPU per request of processes ÷ threads`,
            sign: '≤' as const,
            asked: ASKED,
            unit: ' ×',
            values: cost(name),
          })),
        tables: [
          {
            columns: [
              '',
              'threads, CPU ms/request',
              'processes, CPU ms/request',
              '÷',
              'threads, requests/s',
              'processes, requests/s',
            ],
            rows: models.map(({ name, title }) => ({
              title,
              cells: [
                ...ISOLATIONS.map((isolation) => samples.of(`${name} ${isolation} cpu`)),
                cost(name),
                ...ISOLATIONS.map((isolation) => samples.of(`${name} ${isolation} per second`)),
              ],
            })),
          },
        ],
      };
    } finally {
      await child.stop();
    }
  });
}
