import { Module, type CanActivate, type Type } from '@nestjs/common';
import { HttpAdapterHost, NestFactory, RouterModule } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyServerOptions } from 'fastify';
import { MarlineError, type ItemResult, type RawInput } from '#libs/common';
import {
  INFERENCE_OPTIONS,
  ModelRegistry,
  getAccessGuardsToken,
  installRawBody,
  type PredictionAnswer,
  type PredictionRequest,
  type ScheduleRequest,
} from '#libs/inference';
import { PredictionResponder } from '../../libs/inference/src/prediction-responder.js';
import { InvocationsController } from '../../libs/inference/src/invocations.controller.js';
import { KServeController } from '../../libs/inference/src/kserve.controller.js';
import { LegacyPredictionsController } from '../../libs/inference/src/legacy-predictions.controller.js';
import { PingController } from '../../libs/inference/src/ping.controller.js';
import { PredictionsController } from '../../libs/inference/src/predictions.controller.js';
import { MarlineHealthIndicator } from '../../libs/serve/src/health/health.indicator.js';
import { OipController } from '../../libs/serve/src/oip/oip.controller.js';
import { exchange, type Exchange } from '../support/http-exchange.js';

export interface EdgeOptions {
  /** What the model `m` (versions 1.0 and 2.0) answers. */
  readonly predict?: (request: PredictionRequest) => Promise<PredictionAnswer>;
  readonly remainingCapacity?: number;
  /** Names of the models of the start-up list; `m` alone when not given. */
  readonly startup?: readonly string[];
  readonly status?: string;
  readonly guards?: readonly CanActivate[];
  readonly mount?: string;
  readonly maxRequestSize?: number;
  readonly clientTimeoutInMills?: number;
  /** The service envelope around handlers. */
  readonly envelope?: string;
  /** True when `m` has a handler in Python. */
  readonly runsPython?: boolean;
  /** The file that its archive names as the model; `m.onnx` when not given. */
  readonly serializedFile?: string;
  readonly schedule?: ScheduleRequest;
  /** A module of the host, with controllers, guards and filters of its own. */
  readonly host?: Type;
  readonly server?: FastifyServerOptions;
  /** Called before the application is initialised. */
  readonly prepare?: (fastify: FastifyInstance) => void;
}

export interface EdgeApp {
  readonly app: NestFastifyApplication;
  readonly fastify: FastifyInstance;
  readonly port: number;
  readonly url: string;
  exchange(text: string): Promise<Exchange>;
  close(): Promise<void>;
}

const METADATA = {
  inputs: [{ name: 'x', dtype: 'float32', shape: ['batch', 128] }],
  outputs: [{ name: 'label', dtype: 'string', shape: [1] }],
};

/** An answer of bytes. */
export function answer(text: string, part: Partial<ItemResult> = {}): PredictionAnswer {
  return { streaming: false, result: item(text, part) };
}

export function item(text: string, part: Partial<ItemResult> = {}): ItemResult {
  const output = { kind: 'bytes', bytes: Buffer.from(text), encoding: 'text' } as const;
  return { status: 200, reason: '', headers: [], output, ...part };
}

/** The parameters of a raw request as text. */
export function parametersOf({ input }: PredictionRequest): Record<string, string> {
  return Object.fromEntries(
    (input as RawInput).parameters.map(({ name, value }) => [name, Buffer.from(value).toString('latin1')]),
  );
}

/** The inference routes over a registry that knows one model, on a free port. */
export async function edgeApp(options: EdgeOptions = {}): Promise<EdgeApp> {
  const adapter = new FastifyAdapter(options.server);
  const fastify = adapter.getInstance();
  const app = await NestFactory.create<NestFastifyApplication>(rootModule(options), adapter, {
    logger: false,
  });
  options.prepare?.(fastify);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as { port: number };
  return {
    app,
    fastify,
    port,
    url: `http://127.0.0.1:${port}`,
    exchange: (text) => exchange(port, text),
    close: () => app.close(),
  };
}

function rootModule({
  mount,
  host,
  guards,
  maxRequestSize = 1_000_000,
  schedule,
  ...model
}: EdgeOptions): Type {
  @Module({
    controllers: [
      PredictionsController,
      InvocationsController,
      KServeController,
      LegacyPredictionsController,
      PingController,
      OipController,
    ],
    providers: [
      PredictionResponder,
      { provide: ModelRegistry, useValue: registryOf(model) },
      { provide: INFERENCE_OPTIONS, useValue: { maxRequestSize, schedule } },
      { provide: MarlineHealthIndicator, useValue: healthOf(model) },
      { provide: getAccessGuardsToken(), useValue: guards },
    ],
  })
  class EdgeModule {
    constructor(private readonly adapterHost: HttpAdapterHost) {}

    configure(): void {
      installRawBody(this.adapterHost.httpAdapter);
    }
  }
  const routes = mount === undefined ? [] : [RouterModule.register([{ path: mount, module: EdgeModule }])];
  @Module({ imports: [...(host === undefined ? [] : [host]), EdgeModule, ...routes] })
  class RootModule {}
  return RootModule;
}

function healthOf({ status = 'ready' }: EdgeOptions) {
  return { ready: () => ({ marline: { status: status === 'ready' ? 'up' : 'down' } }) };
}

function registryOf({
  predict,
  remainingCapacity = 100,
  status = 'ready',
  clientTimeoutInMills = 0,
  envelope = '',
  runsPython = false,
  serializedFile = 'm.onnx',
  startup = ['m'],
}: EdgeOptions) {
  const runtime = (version: string) => ({
    name: 'm',
    version,
    archive: { manifest: { model: { serializedFile } } },
    settings: { clientTimeoutInMills, envelope, runsPython },
    queue: () => ({ remainingCapacity, pendingRequests: 0 }),
    refuseUnread: () => new MarlineError('QUEUE_FULL', { model: 'm' }),
    status: () => ({ status, readyWorkers: status === 'ready' ? 1 : 0 }),
    metadata: METADATA,
    predict: predict ?? (() => Promise.resolve(answer(version))),
  });
  const get = (model: string, version = '1.0') => {
    if (model !== 'm') throw new MarlineError('MODEL_NOT_FOUND', { model });
    if (!['1.0', '2.0'].includes(version))
      throw new MarlineError('MODEL_VERSION_NOT_FOUND', { model, version });
    return runtime(version);
  };
  return {
    get,
    route: get,
    isSplit: () => false,
    serviceEnvelope: envelope,
    shuttingDown: false,
    healthy: status !== 'failed',
    names: () => ['m'],
    all: () => startup.map((name) => ({ name, loadedAtStartup: true })),
    versions: () => [runtime('1.0'), runtime('2.0')],
  };
}
