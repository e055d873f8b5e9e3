/**
 * Does a saturated model disturb the gateway's other routes? Prints event-loop delay and the latency of `/hello` (asked
 * 100 times a second) beside 8 saturating connections, for: idle, Marline with two workers, and `session.run()` in a
 * controller. One run, interleaved rounds, medians with their range.
 *
 *   npm run build && npm run bench:gateway
 */
import { execFile, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packArchive } from '#libs/archive';

const ROUNDS = Number(process.env['ROUNDS'] ?? 3);
const SECONDS = Number(process.env['SECONDS'] ?? 6);
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const photo = here('../fixtures/images/coffee.jpg');
const model = here('../fixtures/models/cnn-50ms.onnx');
const run = promisify(execFile);

interface Load {
  perSecond: number;
  errors: number;
  latency: { p50: number; p99: number };
  probe: { p50: number; p99: number; max: number };
}
interface Round {
  loop: { p50: number; p99: number; max: number };
  load: Load;
}

async function start(mode: string, store: string): Promise<{ server: ChildProcess; url: string }> {
  const server = fork(here('./gateway-server.ts'), [mode, store, model], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const [{ url }] = (await once(server, 'message')) as [{ url: string }];
  return { server, url };
}

async function load(target: string, hello: string, seconds: number): Promise<Load> {
  const { stdout } = await run(process.execPath, [
    ...process.execArgv,
    here('./load.ts'),
    target,
    '8',
    String(seconds),
    photo,
    hello,
  ]);
  return JSON.parse(stdout) as Load;
}

async function measure(mode: string, store: string): Promise<Round> {
  const { server, url } = await start(mode === 'idle' ? 'marline' : mode, store);
  const target = mode === 'idle' ? '' : mode === 'marline' ? `${url}/ml/predictions/cnn` : `${url}/naive`;
  await load(target || `${url}/ml/predictions/cnn`, `${url}/hello`, 2);
  server.send('reset');
  const result = await load(target, `${url}/hello`, SECONDS);
  if (result.errors > 0) throw new Error(`${result.errors} failed requests (${mode}): the run is void.`);
  server.send('read');
  const [loop] = (await once(server, 'message')) as [Round['loop']];
  const exited = once(server, 'exit');
  server.send('stop');
  const timer = setTimeout(() => server.kill('SIGKILL'), 20_000);
  await exited;
  clearTimeout(timer);
  return { loop, load: result };
}

function median(values: number[]): string {
  if (values.some((value) => !(value > 0))) return '–';
  const sorted = values.toSorted((a, b) => a - b);
  const text = (value: number | undefined) => (value ?? Number.NaN).toFixed(1);
  return `${text(sorted[Math.floor(sorted.length / 2)])} (${text(sorted[0])}–${text(sorted.at(-1))})`;
}

const store = await mkdtemp(join(tmpdir(), 'marline-bench-'));
try {
  await packArchive({
    modelName: 'cnn',
    version: '1.0',
    handler: 'image_classifier',
    serializedFile: model,
    exportPath: store,
  });
  const modes = ['idle', 'marline', 'naive-1', 'naive'];
  const rounds = new Map<string, Round[]>(modes.map((mode) => [mode, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const mode of round % 2 === 0 ? modes : modes.toReversed())
      rounds.get(mode)?.push(await measure(mode, store));
  }
  console.log(
    `\n8 connections, 50 ms model, JPEG bodies; ms as median (range) of ${ROUNDS} rounds of ${SECONDS} s\n`,
  );
  console.log('| | loop p50 | loop p99 | /hello p50 | /hello p99 | requests/s | prediction p50 |');
  console.log('|---|---|---|---|---|---|---|');
  for (const [mode, results] of rounds) {
    const column = (pick: (round: Round) => number) => median(results.map(pick));
    console.log(
      `| ${mode} | ${column((r) => r.loop.p50)} | ${column((r) => r.loop.p99)} | ${column((r) => r.load.probe.p50)} | ` +
        `${column((r) => r.load.probe.p99)} | ${column((r) => r.load.perSecond)} | ${column((r) => r.load.latency.p50)} |`,
    );
  }
} finally {
  await rm(store, { recursive: true, force: true });
}
