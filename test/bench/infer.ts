/** What `@Infer` costs a request of the host: the same route with and without it. See main.ts. */
import { fileURLToPath } from 'node:url';
import { wrk } from './peers/load.js';
import type { InferGatewayOptions } from './infer-server.js';
import { Workshop } from './suite/archives.js';
import { Child } from './suite/child.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(2);
const WARM_UP_SECONDS = 3;
const ROUTES = ['plain', 'scored'] as const;
const MODEL = fileURLToPath(new URL('../fixtures/models/mlp.onnx', import.meta.url));

export default function infer(): Promise<BenchResult> {
  return Workshop.use(async (workshop) => {
    await workshop.pack({ name: 'mlp', file: MODEL, handler: 'tensor' });
    const amounts = Array.from({ length: 128 }, (_, index) => index / 7);
    const json = Buffer.from(JSON.stringify({ amounts }));
    const body = workshop.body('order.json', { 'content-type': 'application/json' }, json);
    const options: InferGatewayOptions = { modelStore: workshop.folder, cacheDir: workshop.cacheDir };
    const child = await Child.start('infer-server.ts', options);
    try {
      const ask = async (route: string, connections: number, seconds: number) => {
        const before = child.cpuSeconds();
        let cpu = 0;
        const load = await wrk(`${child.url}/orders/${route}`, {
          connections,
          seconds,
          bodyFile: body.file,
          headers: body.headers,
          drained: () => (cpu = child.cpuSeconds() - before),
        });
        if (load.errors > 0)
          throw new Error(`${load.errors} failed requests on /orders/${route}: the run is void.`);
        return { cpuMs: (cpu * 1000) / load.requests, p50: load.p50 };
      };
      for (const route of ROUTES) await ask(route, 8, WARM_UP_SECONDS);
      const samples = new Samples();
      await interleave(ROUTES, async (route) => {
        samples.add(`${route} cpu`, (await ask(route, 8, SECONDS)).cpuMs);
        samples.add(`${route} p50`, (await ask(route, 1, SECONDS / 2)).p50);
      });
      return report(samples);
    } finally {
      await child.stop();
    }
  });
}

function report(samples: Samples): BenchResult {
  const added = (what: string) =>
    samples.pair(`scored ${what}`, `plain ${what}`, (scored, plain) => scored - plain);
  return {
    name: 'infer',
    title: 'What `@Infer` costs a request',
    method: [
      'The same route of a gateway with and without it: JSON bodies of 128 numbers, a model of about 10 µs, one worker. CPU is that',
      'of the whole gateway process at 8 connections, latency that of one connection.',
    ],
    rounds: ROUNDS,
    aims: [],
    tables: [
      {
        columns: ['route', 'CPU ms/request', 'p50 ms'],
        rows: [
          { title: 'plain', cells: [samples.of('plain cpu'), samples.of('plain p50')] },
          { title: 'with `@Infer`', cells: [samples.of('scored cpu'), samples.of('scored p50')] },
          { title: 'added', cells: [added('cpu'), added('p50')] },
        ],
      },
    ],
  };
}
