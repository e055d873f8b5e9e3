/**
 * A bare Nest context with Marline, called in process as an application's service calls it (`@InjectModel`), and raw loops of
 * ONNX Runtime beside it. A child of latency.ts, adaptive.ts, memory.ts and scale-up.ts, which tell it what to do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import 'reflect-metadata';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  InferenceObserver,
  MarlineModule,
  ModelRegistry,
  getModelToken,
  tensor,
  type ModelRef,
  type ServedModel,
  type Tensors,
} from '#libs/serve';
import type { ModelInput } from './suite/archives.js';
import { obey } from './suite/commands.js';

/** How the child is started. */
export interface InProcessOptions {
  readonly modelStore: string;
  readonly cacheDir: string;
  /** Names of the models that will be called. */
  readonly models: readonly string[];
  readonly shareWeightsAboveBytes?: number;
}

/** Some calls of a model, `concurrency` at a time. */
export interface CallOrder {
  readonly model: string;
  readonly inputs: readonly ModelInput[];
  readonly concurrency: number;
  readonly seconds: number;
}

/** What came of them; latencies in milliseconds. */
export interface Calls {
  readonly requests: number;
  readonly seconds: number;
  readonly p50: number;
}

/** How long one more worker took, in milliseconds. */
export interface ScaleUp {
  /** CPU of the whole process meanwhile. */
  readonly cpu: number;
  /** From the call to the start of the worker. */
  readonly call: number;
  /** From there until the worker is ready. */
  readonly start: number;
  /** From there until the caller is told. */
  readonly told: number;
  readonly total: number;
  /** The new worker's first answer, with both workers busy, and one of a worker alone. */
  readonly first: number;
  readonly later: number;
}

/** Notes when the worker that is added last begins to start, and when it is ready. */
class WorkerTimes extends InferenceObserver {
  startingAt = 0;
  readyAt = 0;

  override workerChanged(_ref: ModelRef, _workerId: number, state: string): void {
    if (state === 'starting') this.startingAt = performance.now();
    if (state === 'idle') this.readyAt = performance.now();
  }
}

const workerTimes = new WorkerTimes();
const { models, ...options } = JSON.parse(process.argv[2] ?? '') as InProcessOptions;

@Module({
  imports: [
    MarlineModule.forRoot({ ...options, observer: workerTimes }),
    MarlineModule.forFeature([...models]),
  ],
})
class Application {}

const app = await NestFactory.createApplicationContext(Application, { logger: ['error', 'warn'] });
const raw = new Map<string, Worker>();
const bare = new Map<string, Worker>();

obey(
  {},
  {
    register: async ({ url, workers }: { url: string; workers: number }) => {
      await app.get(ModelRegistry).register({ url, initialWorkers: workers, synchronous: true });
    },
    call: ({ model, inputs, concurrency, seconds }: CallOrder) =>
      repeat(caller(model, inputs), concurrency, seconds),
    bare: ({ inputs, seconds, ...order }: BareOrder) => {
      const worker = bare.get(order.model) ?? niceWorker(order.program, order.model);
      bare.set(order.model, worker);
      return repeat(bareCaller(worker, inputs), 1, seconds);
    },
    raw: async ({ model, program, job, seconds }: RawOrder): Promise<Calls> => {
      const worker = raw.get(model) ?? (await startRaw(model, program, job));
      worker.postMessage({ seconds });
      const [{ times }] = (await once(worker, 'message')) as [{ times: Float64Array }];
      return summary(times, seconds);
    },
    scaleUp,
    memory: () => {
      const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
      const megabytes = (field: string) =>
        Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(rollup)?.[1]) / 1024;
      return { pssMb: megabytes('Pss'), privateDirtyMb: megabytes('Private_Dirty') };
    },
  },
  async () => {
    for (const worker of raw.values()) worker.postMessage({ stop: true });
    for (const worker of bare.values()) worker.unref();
    await app.close();
  },
);

/** A raw loop of ONNX Runtime in a thread of this process. */
interface RawOrder {
  readonly model: string;
  /** The file of the loop. */
  readonly program: string;
  readonly job: object;
  readonly seconds: number;
}

/** Calls of a thread that has a session and nothing else. */
interface BareOrder {
  /** The file of the model. */
  readonly model: string;
  readonly program: string;
  readonly inputs: readonly ModelInput[];
  readonly seconds: number;
}

async function startRaw(model: string, program: string, job: object): Promise<Worker> {
  const worker = niceWorker(program, { model, job });
  raw.set(model, worker);
  await once(worker, 'message');
  return worker;
}

/** A program in a thread as nice as Marline's workers are. */
function niceWorker(program: string, workerData: unknown): Worker {
  const text = `require('node:os').setPriority(0, 10); void import(${JSON.stringify(program)});`;
  return new Worker(text, { eval: true, workerData });
}

/** Asks a bare thread by a message; tells how long its answer took. */
function bareCaller(worker: Worker, inputs: readonly ModelInput[]): () => Promise<number> {
  return async () => {
    const own = inputs.map((input) => ({ ...input, data: input.data.slice() }));
    const before = performance.now();
    const answered = once(worker, 'message');
    worker.postMessage(
      own,
      own.map(({ data }) => data.buffer),
    );
    await answered;
    return performance.now() - before;
  };
}

async function repeat(ask: () => Promise<number>, concurrency: number, seconds: number): Promise<Calls> {
  const times: number[] = [];
  const startedAt = performance.now();
  const endAt = startedAt + seconds * 1000;
  const calls = async () => {
    while (performance.now() < endAt) times.push(await ask());
  };
  await Promise.all(Array.from({ length: concurrency }, calls));
  return summary(Float64Array.from(times), (performance.now() - startedAt) / 1000);
}

/** Calls a model; tells how long that took. */
function caller(model: string, inputs: readonly ModelInput[]): () => Promise<number> {
  const served = app.get<ServedModel<Tensors>>(getModelToken(model), { strict: false });
  return async () => {
    // A call takes its input over, so each needs numbers of its own; making them is the application's part.
    const own = inputs.map((input) => ({ ...input, data: input.data.slice() }));
    const before = performance.now();
    const tensors = Object.fromEntries(
      own.map(({ name, dtype, data, shape }) => [name, tensor(dtype, data, shape)]),
    );
    await served.predict(tensors);
    return performance.now() - before;
  };
}

/** A model that may grow has a thread booted for its next worker, some time after the last one took it. */
const SPARE_MS = 2500;

/** Adds a second worker to a model that may have two, has both answer, and takes one away again. */
async function scaleUp({ model, inputs }: Pick<CallOrder, 'model' | 'inputs'>): Promise<ScaleUp> {
  const runtime = app.get(ModelRegistry).get(model);
  const ask = caller(model, inputs);
  await runtime.scale(1, 2);
  await sleep(SPARE_MS);
  const later = await ask();
  const cpuBefore = process.cpuUsage();
  const calledAt = performance.now();
  await runtime.scale(2, 2);
  const toldAt = performance.now();
  const { user, system } = process.cpuUsage(cpuBefore);
  const { startingAt, readyAt } = workerTimes;
  // The oldest idle worker takes the first request, the new one the second.
  const [, first] = await Promise.all([ask(), ask()]);
  await runtime.scale(1, 1);
  return {
    cpu: (user + system) / 1000,
    call: startingAt - calledAt,
    start: readyAt - startingAt,
    told: toldAt - readyAt,
    total: toldAt - calledAt,
    first,
    later,
  };
}

function summary(times: Float64Array, seconds: number): Calls {
  return { requests: times.length, seconds, p50: times.toSorted()[times.length >> 1] ?? Number.NaN };
}
