import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import type { BatchItem, HandlerMetric, ItemResult, MarlineError, Tensors } from '#libs/common';
import { ThreadWorker } from '#libs/pool';
import { built } from '../support/built.js';
import type { WorkerModel, WorkerReady } from '../../libs/inference/src/worker-model.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

interface Seen {
  readonly logs: string[];
  readonly metrics: HandlerMetric[];
}

const started: { stop(): Promise<void> }[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((worker) => worker.stop()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true })));
});

/** Starts a worker thread with a model of the fixtures (`null`: none) and a handler. */
async function start(model: string | null, handler: WorkerModel['handler']) {
  const seen: Seen = { logs: [], metrics: [] };
  const worker = new ThreadWorker<WorkerModel, WorkerReady>({
    id: 1,
    entry: built('libs/inference/src/onnx.worker.js'),
    startTimeoutMs: 30_000,
    events: {
      exited: () => {},
      metric: (metric) => seen.metrics.push(metric),
      log: (_level, text) => seen.logs.push(text),
    },
  });
  started.push(worker);
  const session =
    model === null
      ? null
      : ({
          path: fixture(`models/${model}.onnx`),
          executionProvider: 'cpu',
          deviceId: null,
          shared: false,
          intraOpThreads: 1,
        } as const);
  const systemProperties = {
    modelDir: fixture('models'),
    gpuId: null,
    batchSize: 4,
    serverName: 'Marline',
    serverVersion: '0',
    limitMaxImagePixels: true,
  };
  const setup = {
    modelName: 'm',
    modelVersion: '1.0',
    manifest: { runtime: 'node', model: {} },
    modelConfig: {},
    systemProperties,
    maxPixels: 1e6,
  } as const;
  const outcome = await worker.start({ setup, handler, session });
  const run = async (...items: BatchItem['input'][]) => {
    const answers: (ItemResult | MarlineError)[] = [];
    const at = (id: string) => Number(id);
    await worker.run(
      items.map((input, index) => ({ id: String(index), input })),
      {
        chunk: () => Promise.resolve(),
        ran: () => {},
        result: (id, result) => (answers[at(id)] = result),
        error: (id, error) => (answers[at(id)] = error),
      },
    );
    return answers;
  };
  return { outcome, run, seen, worker };
}

async function handlerModule(code: string): Promise<WorkerModel['handler']> {
  const folder = await mkdtemp(join(tmpdir(), 'marline-handler-'));
  folders.push(folder);
  await writeFile(join(folder, 'handler.mjs'), code);
  return { kind: 'module', url: pathToFileURL(join(folder, 'handler.mjs')).href };
}

const row = (fill: number): Tensors => ({
  input: { dtype: 'float32', shape: [1, 128], data: new Float32Array(128).fill(fill) },
});
const body = (text: string): BatchItem['input'] => ({
  kind: 'raw',
  headers: '',
  parameters: [{ name: 'body', contentType: 'application/json', value: new TextEncoder().encode(text) }],
});

describe('the worker thread of a model', () => {
  it('serves a handler without a model, and never loads ONNX Runtime for it', async () => {
    const handler = await handlerModule(`
      import { readFileSync } from 'node:fs';
      export async function handle(requests) {
        return requests.map(() => readFileSync('/proc/self/maps', 'utf8').includes('libonnxruntime') ? 'loaded' : 'free');
      }`);
    // First in this file: what is mapped is mapped for the whole process.
    const { outcome, run } = await start(null, handler);
    expect(outcome).toMatchObject({ kind: 'ready', info: { inputs: [], outputs: [] } });
    const [answer] = await run(body('{}'));
    expect(answer).toMatchObject({ output: { text: 'free' } });
  });

  it('tells inputs and outputs when it is ready and runs tensors as one batch', async () => {
    const { outcome, run } = await start('mlp', { kind: 'none' });
    expect(outcome).toMatchObject({
      kind: 'ready',
      info: { inputs: [{ name: 'input' }], outputs: [{ name: 'logits', shape: ['batch', 10] }] },
    });
    const [one, two] = await run({ kind: 'tensors', tensors: row(0) }, { kind: 'tensors', tensors: row(1) });
    expect(one).toMatchObject({ output: { tensors: { logits: { shape: [1, 10] } } } });
    expect(one).not.toEqual(two);
  });

  it('runs a built-in handler beside the session', async () => {
    const { run } = await start('mlp', { kind: 'builtin', name: 'tensor' });
    const [answer] = await run(
      body(
        JSON.stringify({
          inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: Array(128).fill(0) }],
        }),
      ),
    );
    expect(answer).toMatchObject({ status: 200, output: { kind: 'text', encoding: 'json' } });
  });

  it('takes the open inference protocol straight to the session, in JSON and in bytes', async () => {
    const { run } = await start('mlp', { kind: 'none' });
    const request = (extra: object) =>
      Buffer.from(
        JSON.stringify({ inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', ...extra }] }),
      );
    const json = request({ data: Array(128).fill(1) });
    const head = request({ parameters: { binary_data_size: 512 } });
    const body = Buffer.concat([head, Buffer.from(new Float32Array(128).fill(1).buffer)]);
    const own = (bytes: Buffer) => new Uint8Array(bytes);
    const [one, two] = await run(
      { kind: 'protocol', body: own(json) },
      { kind: 'protocol', body: own(body), jsonBytes: head.byteLength },
    );
    expect(one).toMatchObject({ status: 200, headers: [['content-type', 'application/json']] });
    expect((one as ItemResult).output).toEqual((two as ItemResult).output);
  });

  it('tries the others of a run again when the session refuses one of them', async () => {
    const { run } = await start('table_lookup', { kind: 'none' });
    const lookUp = (...ids: bigint[]): BatchItem['input'] => ({
      kind: 'tensors',
      tensors: { ids: { dtype: 'int64', shape: [1, 2], data: BigInt64Array.from(ids) } },
    });
    const [one, two, three] = await run(lookUp(0n, 1n), lookUp(1n, 4n), lookUp(2n, 3n));
    expect(one).toMatchObject({ output: { tensors: { values: { data: Float32Array.of(0.5, 1.5) } } } });
    expect(two).toMatchObject({ code: 'PREDICTION_FAILED' });
    expect(three).toMatchObject({ output: { tensors: { values: { data: Float32Array.of(2.5, 3.5) } } } });
  });

  it('fails one item of a batch alone', async () => {
    const { run } = await start('mlp', { kind: 'none' });
    const wrong: Tensors = { input: { dtype: 'float32', shape: [1, 3], data: new Float32Array(3) } };
    const [good, bad] = await run({ kind: 'tensors', tensors: row(0) }, { kind: 'tensors', tensors: wrong });
    expect(good).toMatchObject({ status: 200 });
    expect(bad).toMatchObject({ code: 'INVALID_INPUT' });
  });

  it('says why a model was not warmed up, and starts all the same', async () => {
    const { outcome, seen } = await start('failing_reshape', { kind: 'none' });
    expect(outcome.kind).toBe('ready');
    expect(seen.logs.join('\n')).toMatch(/not warmed up/);
  });

  it.each<[string, string, WorkerModel['handler'], string]>([
    ['the model is bad', 'sequence_output', { kind: 'none' }, 'MODEL_INVALID'],
    ['the handler is unknown', 'mlp', { kind: 'builtin', name: 'nobody' }, 'HANDLER_NOT_FOUND'],
  ])('fails for good when %s', async (_, model, handler, code) => {
    const { outcome } = await start(model, handler);
    expect(outcome).toMatchObject({ kind: 'permanent', error: { code } });
  });

  it('stops and gives the model back', async () => {
    const { worker, run } = await start('mlp', { kind: 'none' });
    await run({ kind: 'tensors', tensors: row(0) });
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });
});
