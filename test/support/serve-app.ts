import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Module, type DynamicModule, type LoggerService, type Provider, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { packArchive, type PackOptions } from '#libs/archive';
import {
  MarlineModule,
  ModelRegistry,
  type MarlineModuleOptions,
  type MarlineModuleShape,
} from '#libs/serve';
import { fixture } from './open-registry.js';

type Pack = Pick<PackOptions, 'handler' | 'serializedFile' | 'extraFiles' | 'configFile' | 'runtime'>;

/** The models of test/fixtures; paths are relative to it. */
const FIXTURES = {
  mnist: { serializedFile: 'models/mnist_cnn.onnx', handler: 'handlers/mnist_handler.mjs' },
  efficientnet: {
    serializedFile: 'models/efficientnet-lite0-int8.onnx',
    handler: 'image_classifier',
    extraFiles: ['models/index_to_name.json'],
  },
  mlp: { serializedFile: 'models/mlp.onnx', handler: 'tensor' },
  slow: { handler: 'handlers/slow_handler.mjs' },
  faulty: { handler: 'handlers/faulty_handler.mjs' },
  stream: { handler: 'handlers/stream_handler.mjs' },
  printing: { handler: 'handlers/printing_handler.mjs' },
  /** For a host handler of that name. */
  fraud: { serializedFile: 'models/fraud.onnx', handler: 'fraud_handler' },
  fraud_v2: { serializedFile: 'models/fraud_v2.onnx', handler: 'fraud_handler' },
} satisfies Record<string, Pack>;

/** A model of test/fixtures. */
export type FixtureName = keyof typeof FIXTURES;

/** Which archive to pack of a fixture; named like the fixture, version 1.0, unless it says otherwise. */
export interface FixtureArchive extends Partial<Pack> {
  readonly fixture: FixtureName;
  readonly name?: string;
  readonly version?: string;
  /** The file's name without `.mar`; two versions of a name need two. */
  readonly file?: string;
}

/** Packs a fixture into a folder. @returns the archive's file name */
export async function packFixture(folder: string, archive: FixtureName | FixtureArchive): Promise<string> {
  const {
    fixture: name,
    name: modelName = name,
    version = '1.0',
    file = modelName,
    ...pack
  }: FixtureArchive = typeof archive === 'string' ? { fixture: archive } : archive;
  const home = join(folder, file === modelName ? '.' : file);
  await mkdir(home, { recursive: true });
  await packArchive({
    modelName,
    version,
    cwd: fixture('.'),
    exportPath: home,
    force: true,
    runtime: 'node',
    ...FIXTURES[name],
    ...pack,
  });
  return file === modelName ? `${modelName}.mar` : join(file, `${modelName}.mar`);
}

/** A folder with archives and a folder for what is unpacked, gone after `remove`. */
export interface ModelFolder {
  readonly store: string;
  readonly cacheDir: string;
  /** The archives' files, in the order in which they were asked for. */
  readonly files: readonly string[];
  pack(archive: FixtureName | FixtureArchive): Promise<string>;
  remove(): Promise<void>;
}

export async function modelFolder(archives: readonly (FixtureName | FixtureArchive)[]): Promise<ModelFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'marline-test-'));
  const [store, cacheDir] = [join(folder, 'store'), join(folder, 'cache')];
  await mkdir(store);
  const files: string[] = [];
  for (const archive of archives) files.push(await packFixture(store, archive));
  return {
    store,
    cacheDir,
    files,
    pack: (archive) => packFixture(store, archive),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

export interface ServeAppOptions extends MarlineModuleShape {
  /** Packed and loaded at start. */
  readonly models?: readonly (FixtureName | FixtureArchive)[];
  readonly options?: MarlineModuleOptions;
  /** Host handlers and what they inject. */
  readonly handlers?: readonly Provider[];
  readonly controllers?: readonly Type[];
  /** Models that the controllers inject. */
  readonly inject?: readonly string[];
  /** More modules of the application. */
  readonly modules?: readonly DynamicModule[];
  /** False does not wait until the models are ready. */
  readonly ready?: boolean;
  readonly logger?: LoggerService;
}

export interface ServedApp {
  readonly url: string;
  readonly app: NestFastifyApplication;
  readonly registry: ModelRegistry;
  readonly models: ModelFolder;
  close(): Promise<void>;
}

@Module({})
class TestApplicationModule {}

/**
 * An application that serves fixtures with real workers, on a free port.
 * @example const { url, close } = await serveApp({ models: ['mnist'] });
 */
export async function serveApp(options: ServeAppOptions = {}): Promise<ServedApp> {
  const {
    models = [],
    handlers = [],
    controllers = [],
    inject = [],
    modules = [],
    ready = true,
    logger,
    options: values,
    ...shape
  } = options;
  const folder = await modelFolder(models);
  try {
    const marline = MarlineModule.forRoot({
      modelStore: folder.store,
      cacheDir: folder.cacheDir,
      loadModels: folder.files,
      defaultWorkersPerModel: 1,
      ...shape,
      ...values,
    });
    const module: DynamicModule = {
      module: TestApplicationModule,
      imports: [marline, MarlineModule.forFeature(inject), ...modules],
      providers: [...handlers],
      controllers: [...controllers],
    };
    const app = await NestFactory.create<NestFastifyApplication>(module, new FastifyAdapter(), {
      logger: logger ?? false,
      abortOnError: false,
    });
    await app.listen(0, '127.0.0.1');
    const registry = app.get(ModelRegistry);
    if (ready) await untilReady(registry);
    const close = async () => {
      await app.close();
      await folder.remove();
    };
    return { url: await app.getUrl(), app, registry, models: folder, close };
  } catch (error) {
    await folder.remove();
    throw error;
  }
}

/** Resolves when all registered models are ready. @throws why, when one never will be */
export async function untilReady(registry: ModelRegistry): Promise<void> {
  for (const [name, error] of registry.startupFailures)
    throw new Error(`${name} was not loaded`, { cause: error });
  for (;;) {
    const states = registry.all().map((runtime) => runtime.status());
    if (states.every(({ status }) => status === 'ready' || status === 'stopped')) return;
    for (const { status, error } of states)
      if (status === 'failed') throw error ?? new Error('A model failed.');
    await setTimeout(10);
  }
}
