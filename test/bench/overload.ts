/**
 * Twice as many requests as two workers can answer, each with a deadline: goodput, how fast the rest is refused, how soon all is as
 * before; and clients that leave while they wait. See main.ts.
 */
import { fileURLToPath } from 'node:url';
import { MODELS, ensureModels, type BenchModel } from './peers/models.js';
import type { GatewayOptions } from './gateway-server.js';
import type { ClosedLoad, LoadRequest, OpenLoad, OpenOrder } from './load-client.js';
import { Workshop } from './suite/archives.js';
import { Child } from './suite/child.js';
import { leaveEarly } from './suite/leavers.js';
import { quantile } from './suite/quantile.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosen, interleave, secondsOr } from './suite/rounds.js';

const SECONDS = secondsOr(60);
const CAPACITY_SECONDS = 5;
const CALM_SECONDS = 5;
const CLIENTS = 16;
const LEAST_DEADLINE_MS = 100;
/** Requests in the queue when half of their clients leave: fewer than a queue holds. */
const LEAVING = 60;
const WORKERS = 2;
const REFUSED = [429, 503];
/** Bodies of a few KB, so that twice the capacity does not keep the load generator busier than the server. */
const NAMES = ['minilm'];
const LEAVERS_MODEL = 'efficientnet';

/** Meanwhile another process asks the gateway's own route so often. */
const HELLO_PER_SECOND = 20;

interface Stage {
  readonly client: Child;
  readonly neighbour: Child;
  readonly hello: string;
  /** Without the deadline. */
  readonly request: LoadRequest;
  /** Milliseconds that a request may take. */
  readonly deadlineMs: number;
}

export default function overload(): Promise<BenchResult> {
  const models = process.env['MODELS'] === undefined ? modelsNamed(NAMES) : chosen('MODELS', MODELS);
  const [counted] = modelsNamed([LEAVERS_MODEL]) as [BenchModel];
  ensureModels([...models, counted]);
  return Workshop.use(async (workshop) => {
    const handler = fileURLToPath(new URL('./suite/counting-tensor.mjs', import.meta.url));
    const loadModels = [await workshop.pack({ name: 'counted', file: counted.file, handler })];
    for (const model of models) loadModels.push(await workshop.packModel(model));
    const { folder: modelStore, cacheDir } = workshop;
    const options: GatewayOptions = { modelStore, cacheDir, loadModels };
    const gateway = await Child.start('gateway-server.ts', options);
    const client = await Child.start('load-client.ts', {});
    const neighbour = await Child.start('load-client.ts', {});
    const hello = `${gateway.url}/hello`;
    const url = (name: string) => `${gateway.url}/ml/predictions/${name}`;
    const samples = new Samples();
    const deadlines = new Map<string, number>();
    try {
      for (const model of models) {
        const { file: bodyFile, headers } = workshop.bodyOf(model);
        const request = { url: url(model.name), bodyFile, headers };
        await closed(client, request, CLIENTS);
        const alone = await closed(client, request, 1);
        deadlines.set(model.name, Math.max(LEAST_DEADLINE_MS, Math.ceil(10 * alone.p50)));
      }
      await interleave(models, async (model) => {
        const { file: bodyFile, headers } = workshop.bodyOf(model);
        const request = { url: url(model.name), bodyFile, headers };
        const deadlineMs = deadlines.get(model.name)!;
        await overloadOnce(model.name, { client, neighbour, hello, request, deadlineMs }, samples);
        const body = workshop.bodyOf(counted);
        const { left, answered, runs } = await leaveEarly(gateway, url('counted'), body, LEAVING);
        samples.add('left', left);
        samples.add('answered', answered);
        samples.add('runs', runs);
        samples.add('runs too many', runs - answered);
      });
      return report(models, deadlines, samples);
    } finally {
      await client.stop();
      await neighbour.stop();
      await gateway.stop();
    }
  });
}

const modelsNamed = (names: readonly string[]) => MODELS.filter(({ name }) => names.includes(name));

function closed(client: Child, request: LoadRequest, clients: number): Promise<ClosedLoad> {
  return client.ask<ClosedLoad>('closed', { request, clients, seconds: CAPACITY_SECONDS });
}

/** Measures the capacity, then half of it, twice of it, and half of it again without a pause. */
async function overloadOnce(
  name: string,
  { client, neighbour, hello, request, deadlineMs }: Stage,
  samples: Samples,
): Promise<void> {
  const { perSecond: capacity } = await closed(client, request, CLIENTS);
  const calm = { perSecond: capacity / 2, seconds: CALM_SECONDS };
  const order: OpenOrder = {
    request: { ...request, headers: { ...request.headers, 'x-request-timeout-ms': String(deadlineMs) } },
    arrivals: 'poisson',
    phases: [calm, { perSecond: capacity * 2, seconds: SECONDS }, calm],
  };
  const helloOrder: OpenOrder = {
    request: { url: hello },
    arrivals: 'constant',
    phases: order.phases.map(({ seconds }) => ({ perSecond: HELLO_PER_SECOND, seconds })),
  };
  const [load, hellos] = await Promise.all([
    client.ask<OpenLoad>('open', order),
    neighbour.ask<OpenLoad>('open', helloOrder),
  ]);
  const [from, to] = [CALM_SECONDS * 1000, (CALM_SECONDS + SECONDS) * 1000];
  const during = indices(load, from, to);
  const answered = during.filter((at) => load.status[at] === 200);
  const good = answered.filter((at) => load.latency[at]! <= deadlineMs);
  const refused = during.filter((at) => REFUSED.includes(load.status[at]!));
  // From when it was sent: how late the generator was is its own affair, and stands in the table.
  const refusals = refused.map((at) => load.latency[at]! - load.late[at]!);
  const helloTimes = indices(hellos, from, to).map((at) => hellos.latency[at]! - hellos.late[at]!);
  const sentLate = during.map((at) => load.late[at]!);
  const add = (what: string, value: number) => samples.add(`${name} ${what}`, value);
  const share = (count: number) => count / during.length;
  add('capacity', capacity);
  add('goodput', good.length / SECONDS);
  add('share', good.length / SECONDS / capacity);
  add('refused', share(refused.length));
  add('answered late', share(answered.length - good.length));
  add('given up', share(during.length - answered.length - refused.length));
  add('refusal p99', quantile(refusals, 0.99));
  add('hello p99', quantile(helloTimes, 0.99));
  add('sent late', quantile(sentLate, 0.99));
  add('recovery', recoveryMs(load, indices(load, 0, from), indices(load, to, Infinity), to));
}

function indices({ dueAt }: OpenLoad, from: number, to: number): number[] {
  return [...dueAt.keys()].filter((at) => dueAt[at]! >= from && dueAt[at]! < to);
}

/** From the end of the overload until a second begins in which every request is answered as fast as before it. */
function recoveryMs(
  load: OpenLoad,
  before: readonly number[],
  after: readonly number[],
  endedAt: number,
): number {
  const slowest = Math.max(...before.map((at) => load.latency[at]!));
  const isNormal = (at: number) => load.status[at] === 200 && load.latency[at]! <= slowest;
  let since = endedAt;
  for (const at of after) {
    const dueAt = load.dueAt[at]!;
    if (dueAt - since >= 1000) break;
    if (!isNormal(at)) since = dueAt;
  }
  return since - endedAt;
}

function report(
  models: readonly BenchModel[],
  deadlines: ReadonlyMap<string, number>,
  samples: Samples,
): BenchResult {
  const columns = [
    'capacity',
    'goodput',
    'share',
    'refused',
    'answered late',
    'given up',
    'refusal p99',
    'hello p99',
    'recovery',
    'sent late',
  ];
  return {
    name: 'overload',
    title: 'Overload',
    method: [
      `Poisson arrivals at twice the capacity for ${SECONDS} s, each request with an \`x-request-timeout-ms\` of`,
      `${models.map(({ name, title }) => `${deadlines.get(name)} ms for ${title}`).join(', ')}: ten times a run over HTTP, 100 ms at least. The capacity is that of ${CLIENTS} clients in a`,
      `closed loop just before. An answer is good when it came within the deadline after the request was due; refused, answered late and\ngiven up (504 at the deadline) are shares of all requests, the time of a refusal counts from when it was sent, and so\ndoes that of \`/hello\`, a route of the gateway that another process asks ${HELLO_PER_SECOND} times a second: what any answer takes meanwhile. Before and after`,
      `there are ${CALM_SECONDS} s at half of the capacity: recovery is the time until a second begins in which every answer is as fast as before.`,
      `Then ${LEAVING} requests wait for two workers of ${LEAVERS_MODEL} and every second client closes its connection: runs are counted by the`,
      `model's handler; what a worker had begun when its client left counts as one too many.`,
    ],
    rounds: ROUNDS,
    aims: [
      ...models.flatMap(({ name, title }) => [
        {
          what: `${title}: goodput ÷ capacity`,
          sign: '≥' as const,
          asked: 0.9,
          unit: '',
          values: samples.of(`${name} share`),
        },
        {
          what: `${title}: refused within, p99`,
          sign: '<' as const,
          asked: 5,
          unit: ' ms',
          values: samples.of(`${name} refusal p99`),
        },
        {
          what: `${title}: recovered within`,
          sign: '<' as const,
          asked: 1000,
          unit: ' ms',
          values: samples.of(`${name} recovery`),
        },
      ]),
      {
        what: `Half of the clients leave: runs for requests without an answer (${WORKERS} workers were running)`,
        sign: '≤',
        asked: WORKERS,
        unit: '',
        values: samples.of('runs too many'),
      },
    ],
    tables: [
      {
        columns: [
          '',
          'capacity/s',
          'good answers/s',
          '÷',
          'refused',
          'answered late',
          'given up',
          'refusal p99 ms',
          '`/hello` p99 ms',
          'recovery ms',
          'sent late p99 ms',
        ],
        rows: models.map(({ name, title }) => ({
          title,
          cells: columns.map((one) => samples.of(`${name} ${one}`)),
        })),
      },
      {
        columns: ['half of the clients leave', 'requests', 'left while waiting', 'answered', 'runs'],
        rows: [
          {
            title: LEAVERS_MODEL,
            cells: [[LEAVING], samples.of('left'), samples.of('answered'), samples.of('runs')],
          },
        ],
      },
    ],
  };
}
