/**
 * What a worker's engine adds to ONNX Runtime: CPU per item of `HandlerRunner` with a real session, beside a loop of `session.run()`
 * that makes its tensor and throws the answer away. One process, no threads and no HTTP; interleaved A B B A.
 *
 *   node --conditions=marline-source --import=./test/support/ts-register.mjs test/bench/engine.ts
 *
 * The MLP takes 128 numbers as JSON, as a hand-over of 1, 8 or 32 items with batch size 1 and 32; the CNN (sh test/bench/models/make.sh
 * cnn-3ms) takes 600 KB of bytes. `ROUNDS` is 11 by default.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import type { BatchItem, BatchSink, Header, WorkerInput } from '#libs/common';
import { HandlerRunner, createBuiltinHandler } from '#libs/handler/worker';
import { OnnxSession } from '../../libs/inference/src/onnx-session.js';
import { sessionOptions } from '../../libs/inference/src/session-options.js';

const ROUNDS = Number(process.env['ROUNDS'] ?? 11);
const PLAN = { executionProvider: 'cpu', deviceId: null, shared: false, intraOpThreads: 1 } as const;
const MLP = fileURLToPath(new URL('../fixtures/models/mlp.onnx', import.meta.url));
const CNN = fileURLToPath(new URL('../../.marline/bench-models/cnn-3ms.onnx', import.meta.url));

interface Case {
  readonly name: string;
  /** Which case this one is compared with. */
  readonly beside?: string;
  /** Items that one call takes. */
  readonly items: number;
  readonly calls: number;
  readonly run: () => Promise<unknown>;
}

const values = Float32Array.from({ length: 128 }, (_, index) => ((index * 37) % 101) / 101 - 0.5);
const bytesOf = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));
const mlpJson = bytesOf({
  inputs: [{ name: 'input', shape: [1, 128], datatype: 'FP32', data: Array.from(values) }],
});

async function engine(path: string, inputs: readonly WorkerInput[], batchSize: number) {
  const session = OnnxSession.open({ ...PLAN, path }, (call) => call());
  const systemProperties = {
    modelDir: '',
    gpuId: null,
    batchSize,
    serverName: '',
    serverVersion: '',
    limitMaxImagePixels: true,
  };
  const setup = {
    modelName: 'model',
    modelVersion: '1.0',
    manifest: { runtime: 'node', model: {} },
    modelConfig: {},
    systemProperties,
    metric: () => {},
    maxPixels: 0,
  } as const;
  const runner = new HandlerRunner(createBuiltinHandler('tensor'), {
    setup,
    binding: session,
    output: 'bytes',
    recycle: () => {},
  });
  await runner.initialize();
  const sink: BatchSink = {
    chunk: () => Promise.resolve(),
    result: () => {},
    ran: () => {},
    error: (_id, error) => {
      throw error;
    },
  };
  const items: BatchItem[] = inputs.map((input, index) => ({ id: String(index), input }));
  return () => runner.run(items, sink);
}

async function rawLoop(path: string, name: string, rows: number, shape: readonly number[]) {
  const session = await ort.InferenceSession.create(path, sessionOptions(PLAN));
  const data = new Float32Array(rows * shape.reduce((product, dimension) => product * dimension, 1)).fill(
    0.5,
  );
  return () => session.run({ [name]: new ort.Tensor('float32', data, [rows, ...shape]) });
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);
const raw = (contentType: string, value: Uint8Array, headers: readonly Header[] = []): WorkerInput => ({
  kind: 'raw',
  headers: headers.flat().join('\n'),
  parameters: [{ name: 'body', contentType, value }],
});
/** As a client and TorchServe's front end send them. */
const HEADERS: readonly Header[] = [
  ['Host', '127.0.0.1:8080'],
  ['Connection', 'keep-alive'],
  ['Content-Type', 'application/json'],
  ['Content-Length', '2631'],
  ['explain', 'False'],
];

async function mlpCases(): Promise<Case[]> {
  const cases: Case[] = [];
  for (const rows of [1, 8, 32]) {
    const run = await rawLoop(MLP, 'input', rows, [128]);
    cases.push({ name: `R: MLP, batch of ${rows}`, items: rows, calls: 4000 / rows + 1000, run });
  }
  const protocol: WorkerInput = { kind: 'protocol', body: mlpJson };
  const forms = { protocol, predictions: raw('application/json', mlpJson, HEADERS) };
  for (const [form, input] of Object.entries(forms))
    for (const batchSize of [1, 32])
      for (const items of [1, 8, 32])
        cases.push({
          name: `MLP, JSON (${form}), ${items} items, batchSize ${batchSize}`,
          beside: `R: MLP, batch of ${Math.min(items, batchSize)}`,
          items,
          calls: 8000 / items,
          run: await engine(MLP, times(items, input), batchSize),
        });
  return cases;
}

async function cnnCases(): Promise<Case[]> {
  if (!existsSync(CNN)) {
    console.error('No cnn-3ms.onnx: sh test/bench/models/make.sh cnn-3ms');
    return [];
  }
  const session = OnnxSession.open({ ...PLAN, path: CNN }, (call) => call());
  const name = session.inputs[0]?.name ?? '';
  session.release();
  const shape = [3, 224, 224];
  const pixels = new Uint8Array(new Float32Array(3 * 224 * 224).fill(0.5).buffer);
  const bytes = 'application/octet-stream';
  const accept: readonly Header[] = [...HEADERS, ['accept', bytes]];
  const head = Buffer.from(
    JSON.stringify({
      inputs: [
        { name, shape: [1, ...shape], datatype: 'FP32', parameters: { binary_data_size: pixels.byteLength } },
      ],
      parameters: { binary_data_output: true },
    }),
  );
  // Blanks in front, so that the tensor is aligned, as a client that cares makes it.
  const padded = Buffer.concat([Buffer.alloc(-head.byteLength & 7, ' '), head]);
  const body = new Uint8Array(Buffer.concat([padded, pixels]));
  const protocol: WorkerInput = { kind: 'protocol', body, jsonBytes: padded.byteLength };
  const forms: Readonly<Record<string, WorkerInput>> = {
    'bytes, JSON out': raw(bytes, pixels, HEADERS),
    'bytes, bytes out': raw(bytes, pixels, accept),
    'binary protocol': protocol,
  };
  const beside = 'R: CNN';
  const cases: Case[] = [{ name: beside, items: 1, calls: 60, run: await rawLoop(CNN, name, 1, shape) }];
  for (const [form, input] of Object.entries(forms))
    cases.push({ name: `CNN, ${form}`, beside, items: 1, calls: 60, run: await engine(CNN, [input], 1) });
  return cases;
}

async function cpuPerItem({ run, calls, items }: Case): Promise<number> {
  const before = process.cpuUsage();
  for (let call = 0; call < calls; call++) await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / Math.ceil(calls) / items;
}

const median = (numbers: readonly number[]) =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
const rangeOf = (numbers: readonly number[], digits: number) =>
  `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}–${Math.max(...numbers).toFixed(digits)})`;

const cases = [...(await mlpCases()), ...(await cnnCases())];
const costs = new Map(cases.map(({ name }) => [name, [] as number[]]));
for (const one of cases) await cpuPerItem(one);
for (let round = 0; round < ROUNDS; round++)
  for (const one of round % 2 === 0 ? cases : cases.toReversed())
    costs.get(one.name)?.push(await cpuPerItem(one));
console.log(`median (range) of ${ROUNDS} interleaved rounds\n`);
console.log('| | CPU µs per item | of R with the same batch | more than R, µs |\n|---|---|---|---|');
for (const { name, beside } of cases) {
  const own = costs.get(name) ?? [];
  const limit = costs.get(beside ?? name) ?? [];
  const ratio = rangeOf(
    own.map((cost, round) => cost / (limit[round] ?? Number.NaN)),
    3,
  );
  const more = (median(own) - median(limit)).toFixed(1);
  console.log(
    `| ${name} | ${rangeOf(own, 1)} | ${beside === undefined ? '' : ratio} | ${beside === undefined ? '' : more} |`,
  );
}
