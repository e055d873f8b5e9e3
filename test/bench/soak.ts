/**
 * A million requests of the MLP, over HTTP and in process, while models are registered, replaced, scaled and taken away: no request
 * may fail, and memory, handles and threads must stay flat. See main.ts. `REQUESTS` (1,000,000) and `CYCLES` (40) change it.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { wrk } from './peers/load.js';
import { MODELS } from './peers/models.js';
import { memory } from './peers/process-tree.js';
import type { GatewayOptions, Holdings } from './gateway-server.js';
import { Workshop } from './suite/archives.js';
import { Child } from './suite/child.js';
import { slopeOf } from './suite/line.js';
import type { Aim, BenchResult } from './suite/result.js';
import { Samples, fromEnvironment } from './suite/rounds.js';

const REQUESTS = fromEnvironment('REQUESTS', 1_000_000);
const CYCLES = fromEnvironment('CYCLES', 40);
const CONNECTIONS = 8;
/** In-process calls are a fifth of all. */
const IN_PROCESS_SHARE = 0.2;
/** Seconds of load in a cycle: long enough for all changes, and a million requests within ten minutes or a report of why not. */
const LOAD_SECONDS = { first: 2, least: 2, most: 15 };
const OTHER_MODEL = fileURLToPath(new URL('../fixtures/models/cnn-50ms.onnx', import.meta.url));
/**
 * Small heaps, in the workers too: V8 lets garbage of large heaps lie for hundreds of thousands of requests, and then resident memory
 * tells nothing about what is held (in process, 1.6 million calls: 144 to 154 MB with these limits, 190 to 240 MB and rising without).
 */
const HEAP = ['--expose-gc', '--max-semi-space-size=2', '--max-old-space-size=64'];
/** What may grow over the second half, as a share of the mean. */
const FLAT = 0.03;

export default function soak(): Promise<BenchResult> {
  const mlp = MODELS.find(({ name }) => name === 'mlp')!;
  return Workshop.use(async (workshop) => {
    const handler = 'tensor';
    for (const version of ['1.0', '2.0', '3.0'])
      await workshop.pack({ name: 'mlp', version, file: mlp.file, handler });
    await workshop.pack({ name: 'other', file: OTHER_MODEL, handler });
    const options: GatewayOptions = {
      modelStore: workshop.folder,
      cacheDir: workshop.cacheDir,
      loadModels: ['mlp.mar'],
    };
    const child = await Child.start('gateway-server.ts', options, HEAP);
    try {
      const operator = new Operator(`${child.url}/ml/models`);
      const samples = new Samples();
      const body = workshop.bodyOf(mlp);
      const perCycle = Math.ceil(REQUESTS / CYCLES);
      const inProcess = Math.round(perCycle * IN_PROCESS_SHARE);
      let seconds = LOAD_SECONDS.first;
      let done = 0;
      let failed = 0;
      let overHttp = 0;
      let loaded = 0;
      const startedAt = performance.now();
      for (let cycle = 0; done < REQUESTS; cycle++) {
        const load = wrk(`${child.url}/ml/predictions/mlp`, {
          connections: CONNECTIONS,
          seconds,
          bodyFile: body.file,
          headers: body.headers,
          drained: () => {},
        });
        const called = child.ask<number>('predict', { count: inProcess, concurrency: CONNECTIONS });
        await operator.change(cycle);
        const { requests, seconds: took, errors } = await load;
        failed += errors + (await called);
        done += requests + inProcess;
        overHttp += requests;
        loaded += took;
        // By the rate of all cycles: the changes make that of a single one vary.
        const wanted = ((perCycle - inProcess) / overHttp) * loaded;
        seconds = Math.min(LOAD_SECONDS.most, Math.max(LOAD_SECONDS.least, wanted));
        await operator.settle();
        await sample(child, samples, done);
        process.stderr.write(`${done} requests, ${failed} failed, ${Math.round(rssMb(child))} MB\n`);
      }
      return report(samples, { done, failed, minutes: (performance.now() - startedAt) / 60_000 });
    } finally {
      await child.stop();
    }
  });
}

/** Changes what is served, and puts it back: version 1.0 of the model with two workers, and nothing else. */
class Operator {
  constructor(private readonly url: string) {}

  /** While requests are under way. */
  async change(cycle: number): Promise<void> {
    await this.#call('POST', '?url=other.mar&initial_workers=1');
    await this.#call('PUT', `/mlp?min_worker=${3 + (cycle % 2)}&synchronous=true`);
    // One way to change versions is to put the new one in the place of the old one, the other is TorchServe's.
    await this.#call('POST', '?url=mlp-2.0.mar&model_name=mlp&initial_workers=2&replace=true');
    await this.#call('PUT', '/mlp?min_worker=1&synchronous=true');
    await this.#call('POST', '?url=mlp-3.0.mar&model_name=mlp&initial_workers=2');
    await this.#call('PUT', '/mlp/3.0/set-default');
    await this.#call('DELETE', '/mlp/2.0');
    await this.#call('POST', '?url=mlp.mar&model_name=mlp&initial_workers=2&replace=true');
    await this.#call('DELETE', '/other');
  }

  /** What stands at the end of each cycle. @throws Error when it is something else */
  async settle(): Promise<void> {
    const models = JSON.stringify(await this.#call('GET', '/mlp/all'));
    if ((JSON.parse(models) as unknown[]).length !== 1) throw new Error(`Not one version is left: ${models}`);
  }

  async #call(method: string, path: string): Promise<unknown> {
    const response = await fetch(`${this.url}${path}`, { method });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as unknown;
  }
}

async function sample(child: Child, samples: Samples, requests: number): Promise<void> {
  const { heapMb, resources } = await child.ask<Holdings>('holdings');
  samples.add('requests', requests);
  samples.add('RSS, MB', rssMb(child));
  samples.add('heap after collection, MB', heapMb);
  samples.add('file descriptors', readdirSync(`/proc/${child.pid}/fd`).length);
  samples.add(
    'threads',
    Number(/^Threads:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]),
  );
  samples.add('active resources', resources);
}

const rssMb = (child: Child): number => memory(child.pids()).rssMb;

function report(
  samples: Samples,
  { done, failed, minutes }: { readonly done: number; readonly failed: number; readonly minutes: number },
): BenchResult {
  const names = ['RSS, MB', 'heap after collection, MB', 'file descriptors', 'threads', 'active resources'];
  const requests = samples.of('requests');
  const half = requests.length >> 1;
  const growth = (name: string) => {
    const values = samples.of(name).slice(half);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const slope = slopeOf(requests.slice(half), values);
    return (slope * ((requests.at(-1) ?? 0) - (requests[half] ?? 0))) / mean;
  };
  return {
    name: 'soak',
    title: 'Soak',
    method: [
      `${done.toLocaleString('en-US')} requests of the MLP in ${minutes.toFixed(1)} minutes, a fifth of them in process, the others over HTTP on ${CONNECTIONS} connections.`,
      'Meanwhile, over and over: another model is registered and taken away, workers are scaled from two to three or four and down to',
      'one, and the version is changed three times, by `replace=true` and by register, set-default, unregister. After each of these',
      'cycles the same is loaded, and memory and handles are read (heap after a full collection). Growth is that of a straight line',
      'through the second half, as a share of the mean. All heaps, also those of the workers, are held small (64 MB), so that resident',
      'memory shows what is held and not what V8 has yet to collect.',
    ],
    rounds: requests.length,
    aims: [
      { what: 'Failed requests', sign: '≤', asked: 0, unit: '', values: [failed] },
      ...names.map((name): Aim => ({
        what: `${name}: growth over the second half`,
        sign: '≤',
        asked: FLAT * 100,
        unit: ' %',
        values: [growth(name) * 100],
      })),
    ],
    tables: [
      {
        columns: ['', 'first cycle', 'middle', 'last cycle', 'all cycles'],
        rows: names.map((name) => {
          const values = samples.of(name);
          const at = (index: number) => values.slice(index, index + 1);
          return { title: name, cells: [at(0), at(half), at(values.length - 1), values] };
        }),
      },
    ],
  };
}
