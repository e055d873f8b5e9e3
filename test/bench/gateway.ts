/**
 * Does a saturated model disturb the gateway's other routes? Event-loop delay and the latency of `/hello`, asked 100 times a second
 * by another process, beside 8 connections that keep two workers busy; idle, and with bodies of three sizes. See main.ts.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { wrk } from './peers/load.js';
import { MODELS, ensureModels } from './peers/models.js';
import type { GatewayOptions, LoopDelay } from './gateway-server.js';
import type { OpenLoad, OpenOrder } from './load-client.js';
import { Workshop, type Body } from './suite/archives.js';
import { Child } from './suite/child.js';
import { quantile } from './suite/quantile.js';
import type { Aim, BenchResult } from './suite/result.js';
import { ROUNDS, Samples, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(5);
const CONNECTIONS = 8;
const HELLO_PER_SECOND = 100;
/** Until all connections are open and the queue is full. */
const SETTLE_MS = 700;
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const PHOTO = here('../fixtures/images/coffee.jpg');
const SLOW_CNN = here('../fixtures/models/cnn-50ms.onnx');

/** What one row of the table measures. */
interface Case {
  readonly name: string;
  readonly title: string;
  readonly gateway: Child;
  readonly hello: string;
  /** What saturates it; nothing when idle. */
  readonly load?: { readonly url: string; readonly body: Body };
  /** How much more delay than idle, and how slow a `/hello`, is accepted, in milliseconds. */
  readonly asked?: { readonly loop: number; readonly hello: number };
}

export default function gateway(): Promise<BenchResult> {
  const cnn = MODELS.find(({ name }) => name === 'cnn')!;
  ensureModels([cnn]);
  return Workshop.use(async (workshop) => {
    const { folder: modelStore, cacheDir } = workshop;
    const loadModels = [
      await workshop.packModel(cnn),
      await workshop.pack({ name: 'photo', file: SLOW_CNN, handler: 'image_classifier' }),
    ];
    const children: Child[] = [];
    const start = async (options: Partial<GatewayOptions>) => {
      const all = { modelStore, cacheDir, loadModels, ...options };
      const child = await Child.start('gateway-server.ts', all);
      children.push(child);
      return { gateway: child, hello: `${child.url}/hello` };
    };
    try {
      const marline = await start({});
      const photo = workshop.body('photo.jpg', { 'content-type': 'image/jpeg' }, readFileSync(PHOTO));
      const model = (name: string, body: Body) => ({
        url: `${marline.gateway.url}/ml/predictions/${name}`,
        body,
      });
      const cases: Case[] = [
        { name: 'idle', title: 'idle', ...marline },
        {
          name: 'image',
          title: 'JPEG of 71 KB, 50 ms model',
          ...marline,
          load: model('photo', photo),
          asked: { loop: 2, hello: 6 },
        },
        {
          name: 'binary',
          title: '600 KB binary tensor, 3 ms model',
          ...marline,
          load: model('cnn', workshop.bodyOf(cnn)),
          asked: { loop: 3, hello: 8 },
        },
        {
          name: 'json',
          title: '3 MB of JSON, 3 ms model',
          ...marline,
          load: model(
            'cnn',
            workshop.body('numbers.json', { 'content-type': 'application/json' }, longJson()),
          ),
          asked: { loop: 6, hello: 12 },
        },
      ];
      for (const threads of ['one', 'default'] as const) {
        const naive = await start({ naive: { file: SLOW_CNN, threads } });
        const title = `JPEG, \`session.run()\` in a controller, ${threads === 'one' ? 'one thread' : "ONNX Runtime's defaults"}`;
        cases.push({
          name: `naive ${threads}`,
          title,
          ...naive,
          load: { url: `${naive.gateway.url}/naive`, body: photo },
        });
      }
      const client = await Child.start('load-client.ts', {});
      children.push(client);
      const samples = new Samples();
      for (const one of cases.slice(0, 4)) await measure(one, client, 1, new Samples());
      await interleave(cases, (one) => measure(one, client, SECONDS, samples));
      return report(cases, samples);
    } finally {
      for (const child of children) await child.stop();
    }
  });
}

async function measure(
  { name, gateway, hello, load }: Case,
  client: Child,
  seconds: number,
  samples: Samples,
): Promise<void> {
  const busy =
    load &&
    wrk(load.url, {
      connections: CONNECTIONS,
      seconds: seconds + SETTLE_MS / 500,
      bodyFile: load.body.file,
      headers: load.body.headers,
      drained: () => {},
    });
  await sleep(SETTLE_MS);
  await gateway.ask('watchLoop');
  const order: OpenOrder = {
    request: { url: hello },
    arrivals: 'constant',
    phases: [{ perSecond: HELLO_PER_SECOND, seconds }],
  };
  const { latency, status } = await client.ask<OpenLoad>('open', order);
  const loop = await gateway.ask<LoopDelay>('readLoop');
  const measured = await busy;
  const failed = status.filter((one) => one !== 200).length + (measured?.errors ?? 0);
  if (failed > 0) throw new Error(`${failed} failed requests (${name}): the run is void.`);
  samples.add(`${name} loop p50`, loop.p50);
  samples.add(`${name} loop p99`, loop.p99);
  samples.add(`${name} hello p50`, quantile([...latency], 0.5));
  samples.add(`${name} hello p99`, quantile([...latency], 0.99));
  if (measured) samples.add(`${name} per second`, measured.requests / measured.seconds);
}

/** An image as JSON with the digits that JavaScript writes a double with: about 3 MB. */
function longJson(): Buffer {
  const count = 3 * 224 * 224;
  const data = Array.from({ length: count }, (_, index) => Math.abs(Math.sin(index + 1)));
  return Buffer.from(
    JSON.stringify({ inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 3, 224, 224], data }] }),
  );
}

function report(cases: readonly Case[], samples: Samples): BenchResult {
  const series = ['loop p50', 'loop p99', 'hello p50', 'hello p99', 'per second'];
  return {
    name: 'gateway',
    title: "The gateway's other routes while a model is saturated",
    method: [
      'A gateway with two workers and a route `/hello` of its own, which another process asks 100 times a second (open loop, latency',
      'from when a request was due), while wrk keeps 8 connections busy with predictions. The event loop’s delay is that of',
      '`monitorEventLoopDelay` at 1 ms resolution, which is never below about 1 ms; milliseconds.',
    ],
    rounds: ROUNDS,
    aims: cases.flatMap(({ name, title, asked }): Aim[] => {
      if (asked === undefined) return [];
      const above = samples.pair(`${name} loop p99`, 'idle loop p99', (own, idle) => own - idle);
      return [
        {
          what: `${title}: event-loop delay p99 above idle`,
          sign: '≤',
          asked: asked.loop,
          unit: ' ms',
          values: above,
        },
        {
          what: `${title}: \`/hello\` p99`,
          sign: '<',
          asked: asked.hello,
          unit: ' ms',
          values: samples.of(`${name} hello p99`),
        },
      ];
    }),
    tables: [
      {
        columns: ['', 'event-loop delay p50', 'p99', '`/hello` p50', 'p99', 'predictions/s'],
        rows: cases.map(({ name, title }) => ({
          title,
          cells: series.map((one) => samples.of(`${name} ${one}`)),
        })),
      },
    ],
  };
}
