/** A thousand models without workers in the standalone server: what each costs, and how fast it is told of. See main.ts. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { Agent, request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { ModelsServerOptions } from './models-server.js';
import { memory } from './peers/process-tree.js';
import { Workshop } from './suite/archives.js';
import { Child } from './suite/child.js';
import { quantile } from './suite/quantile.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, fromEnvironment, interleave } from './suite/rounds.js';

const COUNT = fromEnvironment('COUNT', 1000);
const DESCRIBED = 2000;
const FORMS = ['snapshots', 'no snapshots'] as const;
type Form = (typeof FORMS)[number];
const MODEL_FILE = 'test/fixtures/models/mlp.onnx';

const nameOf = (index: number) => `model-${String(index).padStart(4, '0')}`;

export default function models(): Promise<BenchResult> {
  return Workshop.use(async (workshop) => {
    const names = Array.from({ length: COUNT }, (_, index) => nameOf(index));
    for (const name of names) await workshop.pack({ name, file: MODEL_FILE, handler: 'tensor' });
    const samples = new Samples();
    await interleave(FORMS, async (form) => {
      const directory = mkdtempSync(join(workshop.folder, 'server-'));
      const options: ModelsServerOptions = {
        directory,
        modelStore: workshop.folder,
        cacheDir: join(directory, 'cache'),
        snapshots: form === 'snapshots',
      };
      mkdirSync(options.cacheDir);
      const child = await Child.start('models-server.ts', options, ['--expose-gc']);
      try {
        await measure(child, names, (what, value) => samples.add(`${form} ${what}`, value));
      } finally {
        await child.stop();
      }
    });
    return report(samples);
  });
}

async function measure(child: Child, names: readonly string[], add: (what: string, value: number) => void) {
  const client = new Client(child.url);
  try {
    await client.timed('GET', '/models');
    const before = await weigh(child);
    const registered = [];
    for (const name of names) registered.push(await client.timed('POST', `/models?url=${name}.mar`));
    add('register first', quantile(registered.slice(0, 100), 0.5));
    add('register last', quantile(registered.slice(-100), 0.5));
    add('register p99', quantile(registered, 0.99));
    add('register sum', registered.reduce((sum, ms) => sum + ms, 0) / 1000);
    const after = await weigh(child);
    add('rss before', before.rssMb);
    add('rss after', after.rssMb);
    add('rss each', ((after.rssMb - before.rssMb) * 1024) / names.length);
    add('pss before', before.pssMb);
    add('pss after', after.pssMb);
    add('pss each', ((after.pssMb - before.pssMb) * 1024) / names.length);
    const described = [];
    for (let n = 0; n < DESCRIBED; n++)
      described.push(await client.timed('GET', `/models/${names[(n * 7) % names.length]}`));
    add('describe p50', quantile(described, 0.5));
    add('describe p99', quantile(described, 0.99));
    await walkPages(client, names, (ms) => add('page', ms));
  } finally {
    client.close();
  }
}

async function weigh(child: Child): Promise<{ pssMb: number; rssMb: number }> {
  await child.ask('collect');
  return memory([child.pid]);
}

/** @throws Error unless the pages have each name once, in order */
async function walkPages(
  client: Client,
  names: readonly string[],
  took: (ms: number) => void,
): Promise<void> {
  const listed: string[] = [];
  const times: number[] = [];
  for (let token: string | undefined = '0'; token !== undefined;) {
    times.push(await client.timed('GET', `/models?limit=100&next_page_token=${token}`));
    const page: Page = JSON.parse(client.body) as Page;
    listed.push(...page.models.map(({ modelName }) => modelName));
    token = page.nextPageToken;
  }
  if (listed.join() !== names.join())
    throw new Error(`The pages have ${listed.length} names, not the ${names.length} registered ones.`);
  took(quantile(times, 0.5));
}

interface Page {
  readonly nextPageToken?: string;
  readonly models: readonly { readonly modelName: string }[];
}

/** Asks one thing at a time, on one connection. */
class Client {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  /** Of the last answer. */
  body = '';

  constructor(private readonly url: string) {}

  /** @returns milliseconds until the whole answer was there @throws Error for any other status than 200 */
  async timed(method: string, path: string): Promise<number> {
    const startedAt = performance.now();
    const call = request(this.url + path, { method, agent: this.#agent }).end();
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    this.body = (await buffer(response)).toString();
    const ms = performance.now() - startedAt;
    const { statusCode } = response;
    if (statusCode !== 200) throw new Error(`${method} ${path}: ${statusCode} ${this.body}`);
    return ms;
  }

  close(): void {
    this.#agent.destroy();
  }
}

function report(samples: Samples): BenchResult {
  const row = (title: string, what: string) => ({
    title,
    cells: FORMS.map((form: Form) => samples.of(`${form} ${what}`)),
  });
  return {
    name: 'models',
    title: 'A thousand models',
    method: [
      `${COUNT} archives of their own (an MLP of 140 KB) registered one after the other over HTTP, without workers, in the standalone server; then ${DESCRIBED}`,
      'descriptions and all pages of the list, one at a time on one connection. Every page was walked and had each name once. Memory is that of the',
      'whole process after a full garbage collection. Snapshots are on by default; `--ncs` turns them off.',
    ],
    rounds: ROUNDS,
    aims: [
      {
        what: `describe one of ${COUNT} models: p50`,
        sign: '<',
        asked: 5,
        unit: ' ms',
        values: samples.of('snapshots describe p50'),
      },
    ],
    tables: [
      {
        columns: ['milliseconds', ...FORMS],
        rows: [
          row('register one of the first 100', 'register first'),
          row('register one of the last 100', 'register last'),
          row('register, p99', 'register p99'),
          row('describe, p50', 'describe p50'),
          row('describe, p99', 'describe p99'),
          row('a page of 100', 'page'),
        ],
      },
      {
        columns: ['memory', ...FORMS],
        rows: [
          row('RSS before, MB', 'rss before'),
          row('RSS after, MB', 'rss after'),
          row('RSS of a model, KB', 'rss each'),
          row('PSS before, MB', 'pss before'),
          row('PSS after, MB', 'pss after'),
          row('PSS of a model, KB', 'pss each'),
        ],
      },
      { columns: ['seconds', ...FORMS], rows: [row('register all', 'register sum')] },
    ],
  };
}
