import type { RequestListener, Server } from 'node:http';
import { join } from 'node:path';
import type { LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  servePlanes,
  torchServeServerOptions,
  usePlanes,
  useTorchServeErrors,
  type Device,
  type PlaneName,
} from '#libs/inference';
import type { GrpcPlane } from '#libs/grpc';
import { ModelRegistry } from '#libs/serve';
import { sameAddress, type ListenAddress, type TcpAddress } from './address.js';
import { readCredentials } from './certificates.js';
import type { ServerConfiguration } from './configuration.js';
import { useCors } from './cors.js';
import { GrpcListeners } from './grpc-listeners.js';
import { checkAddress, closeListener, listen } from './listener.js';
import { LogFiles } from './log-files/log-files.js';
import { MetricsFiles } from './log-files/metrics-files.js';
import { OpenApiDocument } from './openapi-document.js';
import { restoreSnapshot } from './snapshots/model-snapshot.js';
import { Snapshots } from './snapshots/snapshots.js';
import { standaloneModule } from './standalone.module.js';
import { createTlsServer } from './tls-listener.js';
import { askForTokens } from './tokens/token.guard.js';
import { TokenKeys } from './tokens/token-keys.js';

/** A server that answers. */
export interface RunningServer {
  /** Where each plane listens; two with the same address share one listener. Metrics may be turned off. */
  readonly addresses: Readonly<Partial<Record<PlaneName, ListenAddress>>>;
  /** Where the gRPC services listen; missing where their packages are not installed. */
  readonly grpc?: Readonly<Record<GrpcPlane, TcpAddress>>;
  /** Refuses new work, answers what was accepted, closes the listeners, then ends the workers. May be called twice. */
  close(): Promise<void>;
}

interface Binding {
  readonly planes: readonly PlaneName[];
  /** The setting that the address comes from. */
  readonly key: string;
  readonly address: ListenAddress;
}

interface Listener extends Binding {
  readonly server: Server;
}

/** Time for answers under way to reach their clients after all requests were answered. */
const FLUSH_MS = 2_000;

/**
 * Starts the standalone server: one application behind up to three listeners for HTTP and two for gRPC. The start-up models are registered when it
 * resolves; their workers may still be starting.
 * @throws MarlineError `OPTIONS_INVALID` when an address cannot be bound, a certificate cannot be used or the key file cannot be
 *   written; nothing is left running then
 */
export async function startServer(
  configuration: ServerConfiguration,
  devices: readonly Device[],
  logger: LoggerService | false,
): Promise<RunningServer> {
  const warn = (text: string) => void (logger && logger.warn(text, 'Server'));
  const logs = LogFiles.open(configuration.logFolder, configuration.logFormat, warn);
  const metrics = metricsFilesOf(configuration, warn);
  const closeFiles = () => Promise.all([logs?.close(), metrics?.close()]);
  try {
    const log = (logger && metrics?.beside(logger)) ?? logger;
    const server = await openServer(configuration, devices, log, logs);
    let closing: Promise<void> | undefined;
    const close = async () => {
      await server.close();
      await closeFiles();
    };
    return { ...server, close: () => (closing ??= close()) };
  } catch (error) {
    await closeFiles();
    throw error;
  }
}

function metricsFilesOf(
  { logFormat, metricsMode, metricsFolder }: ServerConfiguration,
  warn: (message: string) => void,
): MetricsFiles | undefined {
  const wanted = logFormat !== 'none' && metricsMode !== 'prometheus';
  return wanted ? MetricsFiles.open(metricsFolder, warn) : undefined;
}

async function openServer(
  configuration: ServerConfiguration,
  devices: readonly Device[],
  logger: LoggerService | false,
  logs: LogFiles | undefined,
): Promise<RunningServer> {
  const bindings = bindingsOf(configuration);
  const create = serverMaker(configuration, bindings);
  for (const { address, key } of bindings) await checkAddress(address, key);
  const grpc = await GrpcListeners.prepare(configuration, logs && ((call) => logs.access.followCall(call)));
  const bodyLimit = configuration.maxRequestSize;
  const adapter = new FastifyAdapter({ ...torchServeServerOptions(), bodyLimit });
  const keys = tokenKeysOf(configuration);
  const doors = grpc === undefined ? [] : [grpc.module()];
  const module = standaloneModule(configuration, devices, doors, keys, logs?.access);
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, {
    logger,
    abortOnError: false,
  });
  const fastify = adapter.getInstance();
  usePlanes(fastify, []);
  useCors(fastify, configuration);
  if (keys !== undefined) askForTokens(fastify, keys);
  useTorchServeErrors(fastify);
  const listeners = bindings.map((binding) => ({
    ...binding,
    server: servePlanes(fastify, binding.planes, create(binding)),
  }));
  for (const { server } of listeners) logs?.access.watch(server);
  logs?.access.follow(fastify);
  // Fastify runs this hook after Nest drained and before Nest ends the workers.
  fastify.addHook('preClose', async () => {
    await Promise.all(listeners.map(({ server }) => closeListener(server, FLUSH_MS)));
  });
  try {
    await app.init();
    app.get(OpenApiDocument).describe(app);
    const registry = app.get(ModelRegistry);
    if (configuration.restored !== undefined) await restoreSnapshot(registry, configuration.restored);
    await fastify.ready();
    const addresses = await openAll(listeners);
    const grpcAddresses = await grpc?.open(app);
    const snapshots =
      configuration.snapshots &&
      new Snapshots(registry, configuration.snapshots.folder, configuration.snapshots.properties);
    snapshots?.start();
    const close = () => {
      snapshots?.write('shutdown');
      return app.close();
    };
    return { addresses, grpc: grpcAddresses, close };
  } catch (error) {
    await app.close();
    throw error;
  }
}

function tokenKeysOf(configuration: ServerConfiguration): TokenKeys | undefined {
  const { disableTokenAuthorization, tokenExpirationMin: expirationMin } = configuration;
  return disableTokenAuthorization
    ? undefined
    : new TokenKeys({ file: keyFileOf(configuration), expirationMin });
}

/** Where the server leaves its keys. */
export function keyFileOf({ directory }: ServerConfiguration): string {
  return join(directory, 'key_file.json');
}

function bindingsOf(configuration: ServerConfiguration): readonly Binding[] {
  const { inferenceAddress, managementAddress, metricsAddress, enableMetricsApi } = configuration;
  const combined = sameAddress(inferenceAddress, managementAddress);
  const planes: PlaneName[] = combined ? ['inference', 'management'] : ['inference'];
  // As in TorchServe, a port for everything has the metrics, too, beside their own.
  if (combined && enableMetricsApi) planes.push('metrics');
  const bindings: Binding[] = [{ planes, key: 'inference_address', address: inferenceAddress }];
  if (!combined)
    bindings.push({ planes: ['management'], key: 'management_address', address: managementAddress });
  if (enableMetricsApi)
    bindings.push({ planes: ['metrics'], key: 'metrics_address', address: metricsAddress });
  return bindings;
}

/** @returns what makes the server of a listener. @throws MarlineError `OPTIONS_INVALID` for a certificate that cannot be used */
function serverMaker(configuration: ServerConfiguration, bindings: readonly Binding[]) {
  const secure = bindings.find(({ address }) => isSecure(address));
  const credentials = secure && readCredentials(configuration, `${secure.key}=https://…`);
  return ({ address }: Binding) =>
    credentials !== undefined && isSecure(address)
      ? (listener: RequestListener) => createTlsServer(credentials, listener)
      : undefined;
}

function isSecure(address: ListenAddress): boolean {
  return 'secure' in address && address.secure;
}

async function openAll(listeners: readonly Listener[]): Promise<RunningServer['addresses']> {
  const addresses: Partial<Record<PlaneName, ListenAddress>> = {};
  for (const { server, address, key, planes } of listeners) {
    const bound = await listen(server, address, key);
    for (const plane of planes) addresses[plane] = bound;
  }
  return addresses;
}
