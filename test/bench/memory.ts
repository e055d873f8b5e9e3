/**
 * Memory of one process by its number of workers, with shared weights and without:
 * `node --conditions=marline-source --import=./test/support/ts-register.mjs test/bench/memory.ts [model.onnx]`
 *
 * Each count runs in a fresh process, through the product's own path: prepareModel, then worker threads. The last line is
 * PSS with four workers divided by PSS with one.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { BatchItem, MarlineError } from '#libs/common';
import { ThreadWorker } from '#libs/pool';
import { sampleInputs } from '../../libs/inference/src/sample-inputs.js';
import { prepareModel } from '../../libs/inference/src/shared-weights.js';
import type { WorkerModel, WorkerReady } from '../../libs/inference/src/worker-model.js';

const COUNTS = [1, 4];
const RUNS = 10;

interface Measurement {
  readonly workers: number;
  readonly shared: boolean;
  readonly pssMb: number;
  readonly privateDirtyMb: number;
  readonly startMs: number;
  readonly runMs: number;
}

const [model = '.marline/bench-models/resnet50.onnx', mode, count] = process.argv.slice(2);
const path = resolve(model);
if (!existsSync(path)) throw new Error(`There is no ${model}; build it with: sh test/bench/models/make.sh`);
if (mode === undefined) await compare();
else console.log(JSON.stringify(await measure(mode === 'shared', Number(count))));

async function compare(): Promise<void> {
  const rows: Measurement[] = [];
  for (const form of ['as it is', 'shared']) {
    for (const workers of COUNTS) {
      const script = [...process.execArgv, fileURLToPath(import.meta.url), path, form, String(workers)];
      const { stdout } = await promisify(execFile)(process.execPath, script);
      rows.push(JSON.parse(stdout) as Measurement);
    }
  }
  console.table(rows);
  for (const shared of [false, true]) {
    const [one, four] = COUNTS.map((workers) =>
      rows.find((row) => row.workers === workers && row.shared === shared),
    );
    if (one === undefined || four === undefined) continue;
    const ratio = (four.pssMb / one.pssMb).toFixed(2);
    console.log(
      `${shared ? 'shared weights' : 'weights per worker'}: PSS of ${four.workers} workers / 1 worker = ${ratio}`,
    );
  }
}

async function measure(share: boolean, workers: number): Promise<Measurement> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'marline-bench-'));
  const prepared = await prepareModel(path, {
    cacheDir,
    thresholdBytes: share ? 0 : Infinity,
    intraOpThreads: 1,
  });
  const pool: ThreadWorker<WorkerModel, WorkerReady>[] = [];
  const times: number[] = [];
  const from = performance.now();
  for (let id = 0; id < workers; id++) pool.push(await startWorker(id, prepared));
  const startMs = (performance.now() - from) / workers;
  for (let run = 0; run < RUNS; run++) {
    for (const worker of pool) {
      const tensors = sampleInputs(prepared.inputs)[0] ?? {};
      const item: BatchItem = { id: String(run), input: { kind: 'tensors', tensors } };
      const start = performance.now();
      await worker.run([item], { chunk: () => Promise.resolve(), result: () => {}, error: fail });
      times.push(performance.now() - start);
    }
  }
  const memory = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const mb = (name: string) =>
    Math.round(Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(memory)?.[1]) / 1024);
  await Promise.all(pool.map((worker) => worker.stop()));
  await prepared.release();
  await rm(cacheDir, { recursive: true });
  return {
    workers,
    shared: prepared.shared,
    pssMb: mb('Pss'),
    privateDirtyMb: mb('Private_Dirty'),
    startMs: Math.round(startMs),
    runMs: Math.round((times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? NaN) * 10) / 10,
  };
}

async function startWorker(id: number, { path, shared }: { path: string; shared: boolean }) {
  const worker = new ThreadWorker<WorkerModel, WorkerReady>({
    id,
    entry: new URL('../../libs/inference/src/onnx.worker.js', import.meta.url),
    startTimeoutMs: 60_000,
    events: { exited: fail, metric: () => {}, log: (_level, text) => console.error(text) },
  });
  const outcome = await worker.start({
    handler: { kind: 'none' },
    session: { path, shared, executionProvider: 'cpu', deviceId: null, intraOpThreads: 1 },
    setup: {
      modelName: 'bench',
      modelVersion: '1.0',
      manifest: { runtime: 'node', model: {} },
      modelConfig: {},
      maxPixels: Infinity,
      systemProperties: {
        modelDir: '.',
        gpuId: null,
        batchSize: 1,
        serverName: 'bench',
        serverVersion: '0',
        limitMaxImagePixels: true,
      },
    },
  });
  if (outcome.kind !== 'ready') throw outcome.error;
  return worker;
}

function fail(at: string | MarlineError, error?: MarlineError): void {
  throw error ?? new Error(String(at));
}
