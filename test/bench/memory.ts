/**
 * Memory of a gateway process by the number of workers of one model (ResNet-50, 102 MB of weights), with shared weights and
 * without. Each count runs in a fresh process. PSS counts a page that several mappings share once.
 *
 *   sh test/bench/models/make.sh resnet50 && npm run build && npm run bench:memory
 */
import 'reflect-metadata';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { NestFactory } from '@nestjs/core';
import { packArchive } from '#libs/archive';
import { MarlineModule, ModelRegistry, tensor } from '#libs/serve';

const COUNTS = [1, 4];
const RUNS = 10;
const NEVER = Number.MAX_SAFE_INTEGER;

interface Measurement {
  readonly workers: number;
  readonly weights: string;
  readonly pssMb: number;
  readonly privateDirtyMb: number;
  readonly runMs: number;
}

const model = fileURLToPath(new URL('../../.marline/bench-models/resnet50.onnx', import.meta.url));
const [weights, workers, modelStore = ''] = process.argv.slice(2);
if (!existsSync(model))
  throw new Error('There is no ResNet-50 yet; make it with: sh test/bench/models/make.sh resnet50');
if (weights === undefined) await compare();
else console.log(JSON.stringify(await measure(weights, Number(workers))));

async function compare(): Promise<void> {
  const store = await mkdtemp(join(tmpdir(), 'marline-bench-'));
  try {
    const packed = {
      modelName: 'resnet50',
      version: '1.0',
      handler: 'tensor',
      runtime: 'node',
      serializedFile: model,
    } as const;
    await packArchive({ ...packed, exportPath: store, archiveFormat: 'zip-store' });
    const rows: Measurement[] = [];
    for (const form of ['one copy each', 'shared']) {
      for (const count of COUNTS) {
        const script = [...process.execArgv, fileURLToPath(import.meta.url), form, String(count), store];
        const { stdout } = await promisify(execFile)(process.execPath, script);
        rows.push(JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Measurement);
      }
      const [one, four] = rows.slice(-2);
      console.log(
        `${form}: PSS of 4 workers / 1 worker = ${((four?.pssMb ?? 0) / (one?.pssMb ?? 1)).toFixed(2)}`,
      );
    }
    console.table(rows);
  } finally {
    await rm(store, { recursive: true, force: true });
  }
}

async function measure(form: string, count: number): Promise<Measurement> {
  const module = MarlineModule.forRoot({
    modelStore,
    cacheDir: join(modelStore, 'cache'),
    ...(form === 'shared' ? {} : { shareWeightsAboveBytes: NEVER }),
  });
  const app = await NestFactory.createApplicationContext(module, { logger: ['error'] });
  const runtime = await app
    .get(ModelRegistry)
    .register({ url: 'resnet50.mar', initialWorkers: count, synchronous: true });
  const times: number[] = [];
  // One at a time for each worker: what is measured is memory after all have run, and the time of an undisturbed run.
  const predict = (id: string) =>
    runtime.predict({
      id,
      input: {
        kind: 'tensors',
        tensors: { input: tensor('float32', new Float32Array(3 * 224 * 224), [1, 3, 224, 224]) },
      },
    });
  for (let run = 0; run < RUNS; run++) {
    await Promise.all(Array.from({ length: count }, (_, worker) => predict(`all-${run}-${worker}`)));
    const start = performance.now();
    await predict(`alone-${run}`);
    times.push(performance.now() - start);
  }
  const memory = smaps();
  await app.close();
  return {
    workers: count,
    weights: form,
    ...memory,
    runMs: Math.round(times.toSorted((a, b) => a - b)[RUNS >> 1] ?? 0),
  };
}

function smaps(): { pssMb: number; privateDirtyMb: number } {
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const megabytes = (field: string) =>
    Math.round(Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(rollup)?.[1]) / 1024);
  return { pssMb: megabytes('Pss'), privateDirtyMb: megabytes('Private_Dirty') };
}
