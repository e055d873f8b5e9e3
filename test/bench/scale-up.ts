/**
 * How long one more worker takes to serve (ResNet-50, 102 MB of weights, mapped from the file that all workers share): the
 * runtime's own share, the worker's start, and its first answer beside a later one.
 *
 *   sh test/bench/models/make.sh resnet50 && npm run build &&
 *   node --import=./test/support/ts-register.mjs test/bench/scale-up.ts
 */
import 'reflect-metadata';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import { packArchive } from '#libs/archive';
import { InferenceObserver, MarlineModule, ModelRegistry, tensor, type ModelRef } from '#libs/serve';

const ROUNDS = 12;

const model = fileURLToPath(new URL('../../.marline/bench-models/resnet50.onnx', import.meta.url));
if (!existsSync(model))
  throw new Error('There is no ResNet-50 yet; make it with: sh test/bench/models/make.sh resnet50');

/** Notes when the worker that is added last begins to start, and when it is ready. */
class WorkerTimes extends InferenceObserver {
  startingAt = 0;
  readyAt = 0;

  override workerChanged(_ref: ModelRef, _workerId: number, state: string): void {
    if (state === 'starting') this.startingAt = performance.now();
    if (state === 'idle') this.readyAt = performance.now();
  }
}

const store = await mkdtemp(join(tmpdir(), 'marline-bench-'));
try {
  const packed = { modelName: 'resnet50', version: '1.0', handler: 'tensor', runtime: 'node' } as const;
  await packArchive({ ...packed, serializedFile: model, exportPath: store, archiveFormat: 'zip-store' });
  console.table(await measure());
} finally {
  await rm(store, { recursive: true, force: true });
}

async function measure(): Promise<object[]> {
  const times = new WorkerTimes();
  const module = MarlineModule.forRoot({
    modelStore: store,
    cacheDir: join(store, 'cache'),
    observer: times,
  });
  const app = await NestFactory.createApplicationContext(module, { logger: ['error'] });
  const runtime = await app
    .get(ModelRegistry)
    .register({ url: 'resnet50.mar', initialWorkers: 1, synchronous: true });
  let requests = 0;
  const predict = async () => {
    const input = tensor('float32', new Float32Array(3 * 224 * 224), [1, 3, 224, 224]);
    const startedAt = performance.now();
    await runtime.predict({ id: `${requests++}`, input: { kind: 'tensors', tensors: { input } } });
    return performance.now() - startedAt;
  };
  const rows = { cpu: [], call: [], start: [], told: [], total: [], first: [], later: [] } as Record<
    string,
    number[]
  >;
  for (let round = 0; round < ROUNDS; round++) {
    const later = await predict();
    const cpuBefore = process.cpuUsage();
    const calledAt = performance.now();
    await runtime.scale(2, 2);
    const toldAt = performance.now();
    const { user, system } = process.cpuUsage(cpuBefore);
    rows['cpu']?.push((user + system) / 1000);
    // The oldest idle worker takes the first request, the new one the second.
    const [, first] = await Promise.all([predict(), predict()]);
    await runtime.scale(1, 1);
    rows['call']?.push(times.startingAt - calledAt);
    rows['start']?.push(times.readyAt - times.startingAt);
    rows['told']?.push(toldAt - times.readyAt);
    rows['total']?.push(toldAt - calledAt);
    rows['first']?.push(first);
    rows['later']?.push(later);
  }
  await app.close();
  const what: Record<string, string> = {
    cpu: 'CPU of the whole process meanwhile',
    call: 'runtime: scale() → worker is made',
    start: 'worker: made → loaded',
    told: 'runtime: ready → caller told',
    total: 'in all',
    first: 'its first answer, both workers busy',
    later: 'an answer of one worker alone',
  };
  return Object.entries(rows).map(([name, values]) => ({ step: what[name], ...spread(values) }));
}

function spread(values: readonly number[]): object {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number) => Number((sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(2));
  return { 'median ms': at(0.5), least: at(0), most: at(1) };
}
