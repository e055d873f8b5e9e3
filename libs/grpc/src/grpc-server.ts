import type { EventEmitter } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Server, ServerCredentials, type ChannelOptions } from '@grpc/grpc-js';
import { ServerGrpc } from '@nestjs/microservices';
import { systemClock } from '#libs/common';
import { followingInterceptor, type CallFollower, type StartedCall } from './call-follower.js';

/** TorchServe's two gRPC ports. @publicApi */
export type GrpcPlane = 'inference' | 'management';

/** Where and how a {@link GrpcServer} listens. @publicApi */
export interface GrpcServerOptions {
  /** `host:port`, with an IPv6 address in brackets. Port 0 takes a free one. */
  readonly url: string;
  /** Certificate chain and private key, both PEM. Without them the listener is not encrypted. */
  readonly tls?: { readonly certificate: Buffer; readonly privateKey: Buffer };
  /** Largest message that is accepted, in bytes; 6,553,500 (TorchServe's) by default. A larger one is answered RESOURCE_EXHAUSTED. */
  readonly maxRequestSize?: number;
  /** Milliseconds after which a connection is told to end, so that load balancers spread clients again. Never by default. */
  readonly maxConnectionAgeMs?: number;
  /** Milliseconds that its calls then get to finish. Unlimited by default. */
  readonly maxConnectionAgeGraceMs?: number;
  /** Milliseconds that answers get to reach their clients when the server closes. 2,000 by default. */
  readonly closeTimeoutMs?: number;
  /** Called when a call begins, and tells whom to tell how it goes, such as an access log. Nobody follows calls by default. */
  readonly followCall?: (call: StartedCall) => CallFollower;
}

/** The services of each port: their packages, and the files that describe them. */
const SERVICES: Readonly<Record<GrpcPlane, Readonly<Record<string, string>>>> = {
  inference: {
    'org.pytorch.serve.grpc.inference': 'inference.proto',
    'org.pytorch.serve.grpc.openinference': 'open_inference_grpc.proto',
    inference: 'grpc_service.proto',
  },
  management: { 'org.pytorch.serve.grpc.management': 'management.proto' },
};

const MAX_REQUEST_SIZE = 6_553_500;
const CLOSE_TIMEOUT_MS = 2_000;
const PROTOS = fileURLToPath(new URL('../proto/', import.meta.url));

/**
 * A gRPC listener for the services of one port of TorchServe's, as a strategy of Nest's microservices. Import
 * {@link MarlineGrpcModule} too: it has the services themselves.
 *
 * @example
 * app.connectMicroservice({ strategy: new GrpcServer('inference', { url: '127.0.0.1:7070' }) });
 * await app.startAllMicroservices();
 * @publicApi
 */
export class GrpcServer extends ServerGrpc {
  readonly #options: GrpcServerOptions;
  #port: number | undefined;

  constructor(plane: GrpcPlane, options: GrpcServerOptions) {
    super({
      package: Object.keys(SERVICES[plane]),
      protoPath: Object.values(SERVICES[plane]),
      loader: { includeDirs: [PROTOS], keepCase: true, longs: String, defaults: true, arrays: true },
    });
    this.#options = options;
  }

  /** The port that is bound; `undefined` before that. */
  get port(): number | undefined {
    return this.#port;
  }

  /** Binds when the services are there: Nest's own does it before, and answers the first calls UNIMPLEMENTED. */
  override async listen(callback: (error?: unknown) => void): Promise<void> {
    const { followCall } = this.#options;
    const server = new Server({
      ...channelOptions(this.#options),
      ...(followCall && { interceptors: [followingInterceptor(followCall)] }),
    });
    this.grpcClient = server as never;
    try {
      await this.bindEvents();
      this.#port = await promisify(server.bindAsync.bind(server))(
        this.#options.url,
        credentials(this.#options),
      );
    } catch (error) {
      return callback(error);
    }
    callback();
  }

  /** Accepts no more calls, lets answers under way reach their clients, and ends what is left after `closeTimeoutMs`. */
  override async close(): Promise<void> {
    const server = this.grpcClient as unknown as Server | undefined;
    if (server === undefined) return;
    const { closeTimeoutMs = CLOSE_TIMEOUT_MS } = this.#options;
    const stopWaiting = systemClock.after(closeTimeoutMs, () => server.forceShutdown());
    await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    stopWaiting();
  }

  /** Nest's own rejects where nobody listens when such a call fails, and that would end the process. */
  override createStreamCallMethod(
    ...handler: Parameters<ServerGrpc['createStreamCallMethod']>
  ): ReturnType<ServerGrpc['createStreamCallMethod']> {
    const method = super.createStreamCallMethod(...handler);
    return async (call, callback) => {
      try {
        await method(call, callback);
      } catch (error) {
        (call as unknown as EventEmitter).emit('error', error);
      }
    };
  }
}

function channelOptions(options: GrpcServerOptions): ChannelOptions {
  const { maxRequestSize = MAX_REQUEST_SIZE, maxConnectionAgeMs, maxConnectionAgeGraceMs } = options;
  return {
    'grpc.max_receive_message_length': maxRequestSize,
    ...(maxConnectionAgeMs && { 'grpc.max_connection_age_ms': maxConnectionAgeMs }),
    ...(maxConnectionAgeGraceMs && { 'grpc.max_connection_age_grace_ms': maxConnectionAgeGraceMs }),
  };
}

function credentials({ tls }: GrpcServerOptions): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  return ServerCredentials.createSsl(null, [{ cert_chain: tls.certificate, private_key: tls.privateKey }]);
}
