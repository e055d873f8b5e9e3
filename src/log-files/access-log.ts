import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { ForwardingObserver, type InferenceObserver, type ModelRef, type RequestTimings } from '#libs/common';
import { followRequests, requestIdOf } from '#libs/inference';

/** How one request over HTTP went. */
export interface AccessEntry {
  /** The `x-request-id` of the answer. */
  readonly id: string | undefined;
  /** `host:port`; `undefined` over a Unix socket. */
  readonly remote: string | undefined;
  readonly method: string;
  /** As it was sent, but printable, and without what may be secret: the query, and a user and password before the host. */
  readonly path: string;
  readonly httpVersion: string;
  /** 499 when the client left before there was one. */
  readonly status: number;
  /** The version of a model that was asked. */
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
  readonly remote: string | undefined;
  predictionId: string | undefined;
  ref: ModelRef | undefined;
  timings: RequestTimings | undefined;

  constructor(readonly request: IncomingMessage) {
    this.remote = remoteOf(request.socket);
  }
}

const OPEN = Symbol('marline.openRequest');
type WatchedResponse = ServerResponse & { [OPEN]?: OpenRequest };

const CLIENT_LEFT = 499;
const MOST_PATH_LENGTH = 1024;

/** Tells of every request over HTTP when it is over: what the listener sees, together with what the model's version did. */
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
      const open = new OpenRequest(request);
      response[OPEN] = open;
      response.on('close', () => this.#end(open, response));
    });
  }

  /** Learns from the application which of its requests ask a model. */
  follow(fastify: FastifyInstance): void {
    followRequests(fastify, (response: WatchedResponse, requestId) => {
      const open = response[OPEN];
      // A client may be gone before its request gets here; nothing would take it out again.
      if (open === undefined || response.destroyed) return;
      open.predictionId = requestId;
      this.#open.set(requestId, open);
    });
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

  #end(
    { request, remote, startedAt, predictionId, ref, timings }: OpenRequest,
    response: ServerResponse,
  ): void {
    if (predictionId !== undefined) this.#open.delete(predictionId);
    this.write({
      id: requestIdOf(response),
      remote,
      method: request.method ?? '',
      path: pathOf(request.url ?? ''),
      httpVersion: request.httpVersion,
      status: response.headersSent ? response.statusCode : CLIENT_LEFT,
      ref,
      queueMs: timings?.queueMs,
      runMs: timings?.runMs,
      totalMs: performance.now() - startedAt,
    });
  }
}

/** Read at once: a socket that is gone knows no address. */
function remoteOf({ remoteAddress, remotePort }: Socket): string | undefined {
  if (remoteAddress === undefined) return undefined;
  if (!remoteAddress.includes(':')) return `${remoteAddress}:${remotePort}`;
  return remoteAddress.startsWith('::ffff:')
    ? `${remoteAddress.slice('::ffff:'.length)}:${remotePort}`
    : `[${remoteAddress}]:${remotePort}`;
}

const HARMLESS = /^\/[\w./-]*$/;
const UNPRINTABLE = /[^\x21-\x7e]|["\\]/g;

function pathOf(url: string): string {
  const query = url.indexOf('?');
  const whole = query === -1 ? url : url.slice(0, query);
  if (whole.length <= MOST_PATH_LENGTH && HARMLESS.test(whole)) return whole;
  const path = whole.startsWith('/') ? whole : whole.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, '');
  // Node reads the bytes of a request's head as latin1.
  return path
    .slice(0, MOST_PATH_LENGTH)
    .replaceAll(
      UNPRINTABLE,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    );
}
