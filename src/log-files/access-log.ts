import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { ForwardingObserver, type InferenceObserver, type ModelRef, type RequestTimings } from '#libs/common';
import type { CallFollower, StartedCall } from '#libs/grpc';
import { followRequests, requestIdOf } from '#libs/inference';
import { pathOf, remoteOf } from './request-text.js';

/** How one request over HTTP, or one call of gRPC, went. */
export interface AccessEntry {
  /** The `x-request-id` of the answer; of a call what observers are told. */
  readonly id: string | undefined;
  /** `host:port`; `undefined` over a Unix socket. */
  readonly remote: string | undefined;
  /** `gRPC` for a call. */
  readonly method: string;
  /** As {@link pathOf} has it; of a call `package.Service/Method`. */
  readonly path: string;
  readonly httpVersion: string;
  /** 499 when the client left before there was one; of a call the number of gRPC's status. */
  readonly status: number;
  /** The version of a model that was asked; by a stream of requests, the last one. */
  readonly ref: ModelRef | undefined;
  /** Milliseconds that the request waited for a worker; `undefined` when none ran it. */
  readonly queueMs: number | undefined;
  readonly runMs: number | undefined;
  /** From the head of the request to the end of the answer. */
  readonly totalMs: number;
}

/** What is known of a request that is not over. */
class OpenRequest {
  readonly startedAt = performance.now();
  predictionId: string | undefined;
  ref: ModelRef | undefined;
  timings: RequestTimings | undefined;

  constructor(readonly remote: string | undefined) {}
}

const OPEN = Symbol('marline.openRequest');
type WatchedResponse = ServerResponse & { [OPEN]?: OpenRequest };

const CLIENT_LEFT = 499;

/** Tells of every request when it is over: what the listener sees, together with what the model's version did. */
export class AccessLog extends ForwardingObserver {
  /** By the id that observers are told. */
  readonly #open = new Map<string, OpenRequest>();

  /** @param write is called once for each request */
  constructor(
    next: InferenceObserver,
    private readonly write: (entry: AccessEntry) => void,
  ) {
    super(next);
  }

  /** Tells of the requests of a listener from now on. */
  watch(server: Server): void {
    server.prependListener('request', (request: IncomingMessage, response: WatchedResponse) => {
      // A socket that is gone knows no address.
      const open = new OpenRequest(remoteOf(request.socket));
      response[OPEN] = open;
      response.on('close', () => this.#end(open, ofExchange(request, response)));
    });
  }

  /** Learns from the application which of its requests ask a model. */
  follow(fastify: FastifyInstance): void {
    followRequests(fastify, (response: WatchedResponse, requestId) => {
      const open = response[OPEN];
      // A client may be gone before its request gets here; nothing would take it out again.
      if (open === undefined || response.destroyed) return;
      this.#ask(open, requestId);
    });
  }

  /** Tells of a call of gRPC. */
  followCall({ path, ...client }: StartedCall): CallFollower {
    const open = new OpenRequest(remoteOf(client));
    return {
      asked: (requestId) => this.#ask(open, requestId),
      ended: (status) =>
        this.#end(open, {
          id: open.predictionId,
          method: 'gRPC',
          path: path.slice(1),
          httpVersion: '2.0',
          status,
        }),
    };
  }

  override requestReceived(ref: ModelRef, requestId: string, asked: string | undefined): void {
    const open = this.#open.get(requestId);
    if (open !== undefined) open.ref = ref;
    super.requestReceived(ref, requestId, asked);
  }

  override requestFinished(ref: ModelRef, requestId: string, timings: RequestTimings): void {
    const open = this.#open.get(requestId);
    if (open !== undefined) open.timings = timings;
    super.requestFinished(ref, requestId, timings);
  }

  #ask(open: OpenRequest, requestId: string): void {
    if (open.predictionId !== undefined) this.#open.delete(open.predictionId);
    open.predictionId = requestId;
    this.#open.set(requestId, open);
  }

  #end({ remote, startedAt, predictionId, ref, timings }: OpenRequest, exchange: Exchange): void {
    if (predictionId !== undefined) this.#open.delete(predictionId);
    this.write({
      ...exchange,
      remote,
      ref,
      queueMs: timings?.queueMs,
      runMs: timings?.runMs,
      totalMs: performance.now() - startedAt,
    });
  }
}

type Exchange = Pick<AccessEntry, 'id' | 'method' | 'path' | 'httpVersion' | 'status'>;

function ofExchange(request: IncomingMessage, response: ServerResponse): Exchange {
  return {
    id: requestIdOf(response),
    method: request.method ?? '',
    path: pathOf(request.url ?? ''),
    httpVersion: request.httpVersion,
    status: response.headersSent ? response.statusCode : CLIENT_LEFT,
  };
}
