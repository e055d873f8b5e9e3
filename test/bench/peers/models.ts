import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MODELS_FOLDER, peersFolder } from './folders.js';

/** One input tensor of a request, in the open inference protocol's words. */
export interface Input {
  readonly name: string;
  readonly datatype: 'FP32' | 'INT64';
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** A model, and the one request that every server gets for it. */
export interface BenchModel {
  readonly name: string;
  readonly title: string;
  readonly file: string;
  /** `binary`: servers get the only input as raw bytes, or as near to that as they can. */
  readonly body: 'json' | 'binary';
  readonly inputs: readonly Input[];
  readonly output: string;
  readonly outputShape: readonly number[];
  /** Length of a measurement at 8 connections; at 1 and 32 half of it. */
  readonly seconds: number;
}

const fixture = fileURLToPath(new URL('../../fixtures/models/mlp.onnx', import.meta.url));
const made = (name: string) => `${MODELS_FOLDER}${name}.onnx`;

/** Numbers in [0, 1) with four digits, always the same. */
function numbers(count: number): number[] {
  let state = 7;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * 10_000) / 10_000;
  });
}

const image = (): readonly Input[] => [
  { name: 'input', datatype: 'FP32', shape: [1, 3, 224, 224], data: numbers(3 * 224 * 224) },
];
const tokens = (count: number): readonly Input[] => {
  const int64 = { datatype: 'INT64', shape: [1, count] } as const;
  return [
    { name: 'input_ids', ...int64, data: numbers(count).map((value) => 1000 + Math.floor(value * 20_000)) },
    { name: 'attention_mask', ...int64, data: Array.from({ length: count }, () => 1) },
  ];
};

/** The models of the comparison, from all overhead to all compute. */
export const MODELS: readonly BenchModel[] = [
  {
    name: 'mlp',
    title: 'Tiny MLP',
    file: fixture,
    body: 'json',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [1, 128], data: numbers(128) }],
    output: 'logits',
    outputShape: [1, 10],
    seconds: 1.2,
  },
  {
    name: 'cnn',
    title: '3 ms CNN',
    file: made('cnn-3ms'),
    body: 'binary',
    inputs: image(),
    output: 'scores',
    outputShape: [1, 10],
    seconds: 1.2,
  },
  {
    name: 'efficientnet',
    title: 'EfficientNet-lite0',
    file: made('efficientnet-lite0'),
    body: 'binary',
    inputs: image(),
    output: 'logits',
    outputShape: [1, 1000],
    seconds: 1.2,
  },
  {
    name: 'minilm',
    title: 'MiniLM, 32 tokens',
    file: made('minilm'),
    body: 'json',
    inputs: tokens(32),
    output: 'sentence_embedding',
    outputShape: [1, 384],
    seconds: 1.2,
  },
  {
    name: 'resnet50',
    title: 'ResNet-50 size',
    file: made('resnet50'),
    body: 'binary',
    inputs: image(),
    output: 'logits',
    outputShape: [1, 1000],
    seconds: 1.5,
  },
];

/** Makes the model files that are missing. */
export function ensureModels(models: readonly BenchModel[]): void {
  const missing = models
    .filter(({ file }) => file.startsWith(MODELS_FOLDER) && !existsSync(file))
    .map(({ file }) => file.slice(MODELS_FOLDER.length, -'.onnx'.length));
  if (missing.length === 0) return;
  const script = fileURLToPath(new URL('../models/make.sh', import.meta.url));
  const { status } = spawnSync('sh', [script, ...missing], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`Making ${missing.join(', ')} failed.`);
}

/**
 * A model with the same inputs and output that costs nearly nothing: JavaScript becomes fast after some ten thousand requests, and
 * with a slow model a server would be measured before that. `undefined` for a model that is itself as fast.
 */
export function standInOf(model: BenchModel): string | undefined {
  if (model.file === fixture) return undefined;
  const file = `${MODELS_FOLDER}${model.name}-standin.onnx`;
  if (existsSync(file)) return file;
  const shape = (dimensions: readonly number[]) => dimensions.slice(1).join(',');
  const argv = [fileURLToPath(new URL('../models/make.sh', import.meta.url)), 'standin', file];
  argv.push(`${model.output}=${shape(model.outputShape)}`);
  argv.push(...model.inputs.map((input) => `${input.name}=${input.datatype}=${shape(input.shape)}`));
  const { status } = spawnSync('sh', argv, { stdio: 'inherit' });
  if (status !== 0) throw new Error(`Making ${file} failed.`);
  return file;
}

/** The only input of an image model as the bytes that travel. */
export function rawBytes({ inputs: [input] }: BenchModel): Buffer {
  return Buffer.from(Float32Array.from(input?.data ?? []).buffer);
}

/** The request as the open inference protocol's JSON, which the JSON peers of our own take too. */
export function jsonBody({ inputs }: BenchModel): Buffer {
  return Buffer.from(JSON.stringify({ inputs }));
}

/** Inputs without their data, or with the data as a file of raw bytes, as a file for servers that need to know them. */
export function writeSpec(model: BenchModel): string {
  const folder = peersFolder(`work/${model.name}`);
  const bytesFile = `${folder}/input.bin`;
  if (model.body === 'binary') writeFileSync(bytesFile, rawBytes(model));
  const inputs = model.inputs.map(({ data, ...rest }) => ({
    ...rest,
    ...(model.body === 'binary' ? { bytesFile } : { data }),
  }));
  writeFileSync(`${folder}/spec.json`, JSON.stringify({ inputs }));
  return `${folder}/spec.json`;
}
