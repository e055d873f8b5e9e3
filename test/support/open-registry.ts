import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Module, type Provider, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { ArchiveModule, packArchive, type PackOptions } from '#libs/archive';
import { InferenceObserver, type Tensors } from '#libs/common';
import { InferenceModule, ModelRegistry, type InferenceOptions } from '#libs/inference';
import type { BaseHandler } from '#libs/handler';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));

/** Absolute path of a file under test/fixtures. */
export function fixture(path: string): string {
  return join(fixtures, path);
}

/** A registry with a store of its own, without any door. */
export interface OpenRegistry {
  readonly registry: ModelRegistry;
  readonly store: string;
  readonly cacheDir: string;
  /** Packs a model into the store; paths are relative to test/fixtures. */
  pack(options: Partial<PackOptions> & Pick<PackOptions, 'modelName' | 'handler'>): Promise<void>;
  close(): Promise<void>;
}

/** @param options.handlers host handlers, with the providers they need */
export async function openRegistry(
  options: Partial<InferenceOptions> & { readonly handlers?: readonly (Type<BaseHandler> | Provider)[] } = {},
): Promise<OpenRegistry> {
  const { handlers = [], ...inference } = options;
  const folder = await mkdtemp(join(tmpdir(), 'marline-test-'));
  const [store, cacheDir] = [join(folder, 'store'), join(folder, 'cache')];
  const filled: InferenceOptions = {
    cacheDir,
    loadModels: [],
    models: {},
    defaultWorkersPerModel: 0,
    jobQueueSize: 100,
    defaultResponseTimeout: 60,
    defaultStartupTimeout: 60,
    maxRequestSize: 6_553_500,
    maxImagePixels: 100_000_000,
    shareWeightsAboveBytes: 8 * 2 ** 20,
    intraOpThreads: 1,
    memoryBudgetMb: 0,
    python: '',
    pythonEnv: [],
    blacklistEnvVars: '',
    installPyDepPerModel: false,
    metricsConfig: '',
    limitMaxImagePixels: true,
    pythonSocket: 'unix',
    maxResponseSize: 6_553_500,
    decodeInputRequest: true,
    serviceEnvelope: '',
    sequenceIdHeader: 'ts_request_sequence_id',
    sequenceStartHeader: 'ts_request_sequence_start',
    sequenceEndHeader: 'ts_request_sequence_end',
    drainTimeoutMs: 30_000,
    observer: new (class extends InferenceObserver {})(),
    ...inference,
  };

  @Module({
    imports: [
      InferenceModule.registerAsync({
        imports: [ArchiveModule.register({ modelStore: store, cacheDir })],
        useFactory: () => filled,
      }),
    ],
    providers: [...(handlers as Provider[])],
  })
  class RegistryModule {}

  await mkdir(store, { recursive: true });
  const testing = await Test.createTestingModule({ imports: [RegistryModule] }).compile();
  testing.useLogger(false);
  await testing.init();
  return {
    registry: testing.get(ModelRegistry, { strict: false }),
    store,
    cacheDir,
    pack: async (model) => {
      await packArchive({ version: '1.0', cwd: fixtures, exportPath: store, force: true, ...model });
    },
    close: async () => {
      await testing.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Asks a model in process and gives the answer as data: JSON parsed, tensors as they are. */
export async function predict(
  registry: ModelRegistry,
  model: string,
  value: unknown,
  options: { readonly version?: string; readonly deadlineMs?: number; readonly signal?: AbortSignal } = {},
): Promise<unknown> {
  const { version, ...bounds } = options;
  const answer = await registry
    .get(model, version)
    .predict({ id: `request-${++requests}`, input: { kind: 'value', value }, ...bounds });
  if (answer.streaming) throw new Error('The model answered a stream.');
  const { output } = answer.result;
  switch (output.kind) {
    case 'value':
      return output.value;
    case 'tensors':
      return output.tensors;
    case 'text':
      return output.encoding === 'json' ? JSON.parse(output.text) : output.text;
    case 'bytes':
      return output.encoding === 'json'
        ? JSON.parse(Buffer.from(output.bytes).toString())
        : Buffer.from(output.bytes);
  }
}
let requests = 0;

/** Input of mlp.onnx. */
export function mlpInput(value = 1): Tensors {
  return { input: { dtype: 'float32', shape: [1, 128], data: new Float32Array(128).fill(value) } };
}
