/**
 * What `@Infer` costs a request of the host: the same route with and without it, a 10 µs model, one worker, JSON bodies of
 * 128 numbers. CPU of the whole server process per request first, then the latency at one connection. Interleaved A B B A.
 *
 *   npm run build && npm run bench:infer
 */
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packArchive } from '#libs/archive';

const ROUNDS = Number(process.env['ROUNDS'] ?? 5);
const SECONDS = Number(process.env['SECONDS'] ?? 3);
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);

interface Load {
  requests: number;
  errors: number;
  latency: { p50: number };
}

const folder = await mkdtemp(join(tmpdir(), 'marline-bench-'));
const body = join(folder, 'order.json');
await writeFile(body, JSON.stringify({ amounts: Array.from({ length: 128 }, (_, index) => index / 7) }));
await packArchive({
  modelName: 'mlp',
  version: '1.0',
  handler: 'tensor',
  runtime: 'node',
  serializedFile: here('../fixtures/models/mlp.onnx'),
  exportPath: folder,
});
const server = fork(here('./infer-server.ts'), [folder], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
const [{ url }] = (await once(server, 'message')) as [{ url: string }];

async function load(route: string, connections: number, seconds: number): Promise<Load> {
  const argv = [here('./load.ts'), `${url}/orders/${route}`, String(connections), String(seconds), body];
  const { stdout } = await run(process.execPath, [...process.execArgv, ...argv], {
    env: { ...process.env, CONTENT_TYPE: 'application/json' },
  });
  return JSON.parse(stdout) as Load;
}

async function cpuMs(): Promise<number> {
  server.send('read');
  const [{ user, system }] = (await once(server, 'message')) as [{ user: number; system: number }];
  return (user + system) / 1000;
}

const figures = {
  plain: { cpu: [] as number[], p50: [] as number[] },
  scored: { cpu: [] as number[], p50: [] as number[] },
};
try {
  for (const route of ['plain', 'scored']) await load(route, 8, 2);
  for (let round = 0; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? (['plain', 'scored'] as const) : (['scored', 'plain'] as const);
    for (const route of order) {
      const before = await cpuMs();
      const { requests, errors } = await load(route, 8, SECONDS);
      if (errors > 0) throw new Error(`${errors} failed requests on /orders/${route}: the run is void.`);
      figures[route].cpu.push(((await cpuMs()) - before) / requests);
      figures[route].p50.push((await load(route, 1, 1)).latency.p50);
    }
  }
  const median = (values: readonly number[]) =>
    values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
  const range = (values: readonly number[]) =>
    `${median(values).toFixed(3)} (${Math.min(...values).toFixed(3)}–${Math.max(...values).toFixed(3)})`;
  console.log(
    `\nmedian (range) of ${ROUNDS} interleaved rounds\n\n| route | CPU ms/request, 8 connections | p50 ms, 1 connection |\n|---|---|---|`,
  );
  for (const [route, { cpu, p50 }] of Object.entries(figures))
    console.log(`| ${route} | ${range(cpu)} | ${range(p50)} |`);
  console.log(
    `\n@Infer adds ${(median(figures.scored.cpu) - median(figures.plain.cpu)).toFixed(3)} ms CPU and ${(median(figures.scored.p50) - median(figures.plain.p50)).toFixed(3)} ms latency a request.`,
  );
} finally {
  const exited = once(server, 'exit');
  server.send('stop');
  await exited;
  await rm(folder, { recursive: true, force: true });
}
