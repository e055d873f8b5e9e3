import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { MarlineError } from '#libs/common';
import type { GrpcPlane, GrpcServer, GrpcServerOptions } from '#libs/grpc';
import { formatHost, sameAddress, type TcpAddress } from './address.js';
import { readPemPair } from './certificates.js';
import type { ServerConfiguration } from './configuration.js';
import { checkAddress } from './listener.js';

/** The library of the gRPC services; its packages are optional. */
export type GrpcLibrary = typeof import('#libs/grpc');

/** The gRPC services of the standalone server, on the two ports of `config.properties`. */
export class GrpcListeners {
  readonly #servers = new Map<GrpcPlane, GrpcServer>();

  private constructor(
    private readonly library: GrpcLibrary,
    private readonly configuration: ServerConfiguration,
  ) {}

  /**
   * Checks the addresses and the files of the configuration.
   * @param followCall called when a call begins
   * @returns `undefined` where the packages of gRPC are not installed
   * @throws MarlineError `OPTIONS_INVALID` for an address that cannot be bound, or a certificate that cannot be read
   */
  static async prepare(
    configuration: ServerConfiguration,
    followCall: GrpcServerOptions['followCall'],
  ): Promise<GrpcListeners | undefined> {
    const library = await loadLibrary();
    if (library === undefined) return undefined;
    assertTwoPlaces(configuration);
    const listeners = new GrpcListeners(library, configuration);
    const tls = readTls(configuration);
    for (const plane of ['inference', 'management'] as const) {
      const { host, port, secure, ...age } = placeOf(plane, configuration);
      const address = { host, port, secure };
      await checkAddress(address, `grpc_${plane}_address`);
      const url = formatHost(address);
      const { maxRequestSize } = configuration;
      const options: GrpcServerOptions = { url, tls, maxRequestSize, followCall, ...age };
      listeners.#servers.set(plane, new library.GrpcServer(plane, options));
    }
    return listeners;
  }

  /** The services, for the root module. */
  module(): ReturnType<GrpcLibrary['MarlineGrpcModule']['forRoot']> {
    return this.library.MarlineGrpcModule.forRoot({ management: true });
  }

  /** Binds both ports; the application closes them. @returns where they listen */
  async open(app: NestFastifyApplication): Promise<Readonly<Record<GrpcPlane, TcpAddress>>> {
    for (const strategy of this.#servers.values()) app.connectMicroservice({ strategy });
    await app.startAllMicroservices();
    const bound = (plane: GrpcPlane): TcpAddress => {
      const { host, secure } = placeOf(plane, this.configuration);
      return { host, secure, port: this.#servers.get(plane)?.port ?? 0 };
    };
    return { inference: bound('inference'), management: bound('management') };
  }
}

async function loadLibrary(): Promise<GrpcLibrary | undefined> {
  try {
    return await import('#libs/grpc');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

function placeOf(plane: GrpcPlane, configuration: ServerConfiguration) {
  if (plane === 'inference') {
    return {
      host: configuration.grpcInferenceAddress,
      port: configuration.grpcInferencePort,
      secure: configuration.enableGrpcSsl,
      maxConnectionAgeMs: configuration.grpcInferenceMaxConnectionAgeMs,
      maxConnectionAgeGraceMs: configuration.grpcInferenceMaxConnectionAgeGraceMs,
    };
  }
  return {
    host: configuration.grpcManagementAddress,
    port: configuration.grpcManagementPort,
    secure: configuration.enableGrpcSsl,
    maxConnectionAgeMs: configuration.grpcManagementMaxConnectionAgeMs,
    maxConnectionAgeGraceMs: configuration.grpcManagementMaxConnectionAgeGraceMs,
  };
}

function assertTwoPlaces(configuration: ServerConfiguration): void {
  const inference = placeOf('inference', configuration);
  if (!sameAddress(inference, placeOf('management', configuration))) return;
  const reason = `grpc_inference_port and grpc_management_port are both ${inference.port}; the services need a port each.`;
  throw new MarlineError('OPTIONS_INVALID', { reason });
}

function readTls(configuration: ServerConfiguration): GrpcServerOptions['tls'] {
  return configuration.enableGrpcSsl ? readPemPair(configuration, 'enable_grpc_ssl=true') : undefined;
}
