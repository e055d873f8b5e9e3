import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Logger } from '@nestjs/common';
import { VERSION, systemClock } from '#libs/common';
import { detectDevices, type Device } from '#libs/inference';
import { formatAddress, formatHost, isLoopback, type ListenAddress, type TcpAddress } from './address.js';
import type { Terminal } from './commands/predict.js';
import { describeConfiguration, type ServerConfiguration } from './configuration.js';
import { claimPidFile } from './pid-file.js';
import { keyFileOf, startServer, type RunningServer } from './server.js';
import { StandaloneLogger } from './standalone-logger.js';

const API_NAMES = { inference: 'Inference', management: 'Management', metrics: 'Metrics' } as const;

/** How much longer than the drain a stop may take before the process is killed. */
const STOP_GRACE_MS = 5_000;

/** One Ctrl-C arrives twice when npm runs the server: from the terminal, and passed on by npm. */
const ECHO_MS = 500;

/** How `marline serve` runs the server. */
export interface RunOptions {
  /** Told at the start, beside those about the configuration. */
  readonly warnings: readonly string[];
  /** Where `--stop` looks for this server; without one it does not find it. */
  readonly pidFile?: string;
}

/**
 * Runs the server until SIGTERM or SIGINT, and resolves when it has stopped.
 * @throws MarlineError `OPTIONS_INVALID` when it cannot start
 */
export async function runServer(
  configuration: ServerConfiguration,
  { warnings, pidFile }: RunOptions,
  terminal: Terminal,
): Promise<void> {
  const nestLogger = new StandaloneLogger();
  Logger.overrideLogger(nestLogger);
  const logger = new Logger('Server');
  // Before anybody can read whom to signal: what the file names must not end without giving it up.
  const stopRequested = untilStopRequested(logger);
  const release = pidFile === undefined ? undefined : claimPidFile(pidFile);
  try {
    const devices = await usableDevices(configuration);
    logger.log([introduction(devices), ...describeConfiguration(configuration)].join('\n'));
    for (const warning of warnings) logger.warn(warning);
    warnAbout(configuration, logger);
    const server = await startServer(configuration, devices, nestLogger);
    logListeners(server, logger);
    terminal.stdout.write('Model server started.\n');
    tellParent();
    await stopRequested;
    const limit = configuration.drainTimeoutMs + STOP_GRACE_MS;
    // Without a reference: it matters only while something else, such as a worker in a native run, keeps the process alive.
    systemClock.after(limit, () => kill(logger, `Still not stopped after ${limit} ms.`));
    await server.close();
    if (pidFile !== undefined) forgetKeys(configuration);
    logger.log('Model server stopped.');
  } finally {
    release?.();
  }
}

/** Removes the keys of a server that has stopped: they open nothing any more. */
function forgetKeys(configuration: ServerConfiguration): void {
  if (!configuration.disableTokenAuthorization) rmSync(keyFileOf(configuration), { force: true });
}

/** A parent that opened a channel waits for this: `marline serve --start`, and process managers such as pm2. */
function tellParent(): void {
  // The parent may be gone at any time, and need not hear it.
  if (process.connected) process.send?.('ready', undefined, {}, () => undefined);
}

async function usableDevices({ numberOfGpu = Infinity }: ServerConfiguration): Promise<readonly Device[]> {
  const devices = await detectDevices();
  return devices.filter(({ kind, index }) => kind !== 'gpu' || index < numberOfGpu);
}

function introduction(devices: readonly Device[]): string {
  const gpus = devices.filter(({ kind }) => kind === 'gpu').length;
  return `Marline ${VERSION} on Node.js ${process.versions.node}. Number of GPUs: ${gpus}. Number of CPUs: ${availableParallelism()}.`;
}

function warnAbout(configuration: ServerConfiguration, logger: Logger): void {
  const { file, ignoredKeys, managementAddress, disableTokenAuthorization } = configuration;
  for (const { key, reason } of ignoredKeys)
    logger.warn(`${key} in ${file} has no effect: ${reason ?? 'it is unknown, perhaps misspelt'}.`);
  if (!disableTokenAuthorization) {
    logger.log(`Every API but metrics asks for its key, which stands in ${keyFileOf(configuration)}.`);
    return;
  }
  const grpcManagement = {
    host: configuration.grpcManagementAddress,
    port: configuration.grpcManagementPort,
    secure: configuration.enableGrpcSsl,
  };
  for (const reachable of [managementAddress, grpcManagement].filter((each) => !isLoopback(each))) {
    const address = reachable === grpcManagement ? formatHost(grpcManagement) : formatAddress(reachable);
    logger.warn(
      `${address}: other machines can reach the management API and change what is served. Bind it to 127.0.0.1, or use tokens.`,
    );
  }
}

function logListeners({ addresses, grpc }: RunningServer, logger: Logger): void {
  for (const [plane, address] of Object.entries<ListenAddress>(addresses)) {
    logger.log(`${API_NAMES[plane as keyof typeof API_NAMES]} API bind to: ${formatAddress(address)}`);
  }
  for (const [plane, address] of Object.entries<TcpAddress>(grpc ?? {})) {
    logger.log(`${API_NAMES[plane as keyof typeof API_NAMES]} gRPC API bind to: ${formatHost(address)}`);
  }
  if (grpc === undefined)
    logger.warn(
      'There is no gRPC: it needs the packages @nestjs/microservices, @grpc/grpc-js and @grpc/proto-loader. Install them beside marline.',
    );
}

/** Resolves at the first SIGTERM or SIGINT. A second one kills the process. */
function untilStopRequested(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let requestedAt: number | undefined;
    const onSignal = (signal: NodeJS.Signals) => {
      if (requestedAt === undefined) {
        requestedAt = performance.now();
        logger.log(
          `${signal}: answering what was accepted, then stopping. Another ${signal} kills the process.`,
        );
        resolve();
      } else if (performance.now() - requestedAt > ECHO_MS) {
        kill(logger, `${signal} came again.`);
      }
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** process.exit() would abort the process while a worker runs native code (docs/decisions/0001); SIGKILL is clean. */
function kill(logger: Logger, reason: string): void {
  logger.error(`${reason} Killing the process; requests under way are lost.`);
  process.kill(process.pid, 'SIGKILL');
}
