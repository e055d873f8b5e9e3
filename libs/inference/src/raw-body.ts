import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { HttpServer } from '@nestjs/common';
import type { FastifyInstance, FastifyRequest, preParsingHookHandler } from 'fastify';
import { MarlineError } from '#libs/common';
import { collectBody } from './body-collector.js';
import { markRoute, routeMarks } from './route-marks.js';

// Fastify chooses a parser by content type alone: with a type that no client can guess, only our routes reach this one.
const PRIVATE_TYPE = `application/vnd.marline.${randomUUID()}`;
/** A whole body up to here lies in the stream already; a larger one is collected in a buffer that is moved to the worker. */
const SMALL_BYTES = 64 * 1024;
const NO_BODY = Buffer.alloc(0);

// Properties of the request: the same in weak maps cost as much as all of Fastify's own look-ups.
const UNREAD = Symbol('marline.unreadBody');
const CONTENT_TYPE = Symbol('marline.contentType');

interface HeldRequest extends FastifyRequest {
  [UNREAD]?: NodeJS.ReadableStream;
  /** The client's own while the private one stands in its place; `null` when it sent none. */
  [CONTENT_TYPE]?: string | null;
}

/**
 * Marks a route whose body, of whatever content type and method, is left unread until {@link readRawBody}: guards run and
 * the model is looked up before a byte of it is stored.
 */
export function RawBody(): MethodDecorator {
  return (_target, _key, descriptor) => markRoute(descriptor.value as object, { rawBody: true });
}

/**
 * Prepares a Fastify application for {@link RawBody}; other routes and the host's parsers stay as they are.
 * Called from a module's `configure()`, which runs before routes are registered. May be called twice.
 * @param adapter the application's adapter; without one (an application context) there is nothing to prepare
 * @throws MarlineError `OPTIONS_INVALID` when the application does not run on Fastify
 */
export function installRawBody(adapter: Pick<HttpServer, 'getType' | 'getInstance'> | undefined): void {
  if (adapter === undefined) return;
  if (adapter.getType() !== 'fastify') {
    throw new MarlineError('OPTIONS_INVALID', {
      reason: `The inference routes need Fastify, this application runs on ${adapter.getType()}. Create it with FastifyAdapter of @nestjs/platform-fastify.`,
    });
  }
  const fastify = adapter.getInstance() as FastifyInstance;
  if (fastify.hasContentTypeParser(PRIVATE_TYPE)) return;
  fastify.addContentTypeParser(PRIVATE_TYPE, (request, _payload, done) => {
    restoreContentType(request);
    done(null, undefined);
  });
  fastify.addHook('onRoute', (route) => {
    if (routeMarks(route.config).rawBody !== true) return;
    const hooks = route.preParsing ?? [];
    route.preParsing = [...(Array.isArray(hooks) ? hooks : [hooks]), takeBody];
  });
}

/**
 * The whole body of a request of a {@link RawBody} route, at once when it is small and here already. From 64 KiB up it has a
 * buffer of its own that the caller may give away and that may be longer than the body; a smaller one may be a view of a
 * buffer with other requests in it, which costs nothing, because small values are copied on the way to a worker anyway.
 * @throws MarlineError `PAYLOAD_TOO_LARGE` above `limitBytes`, before reading when the client declared the length;
 *   `REQUEST_CANCELLED` when the client goes away meanwhile
 */
export function readRawBody(
  request: FastifyRequest,
  limitBytes: number,
): Buffer<ArrayBuffer> | Promise<Buffer<ArrayBuffer>> {
  restoreContentType(request);
  const stream = (request as HeldRequest)[UNREAD];
  (request as HeldRequest)[UNREAD] = undefined;
  if (stream === undefined) {
    throw new MarlineError('INTERNAL', {
      reason: 'The body was read already, or installRawBody() was not called for this application.',
    });
  }
  const declared = Number(request.headers['content-length'] ?? NaN);
  if (declared > limitBytes) throw new MarlineError('PAYLOAD_TOO_LARGE', { limitBytes });
  return isHere(stream, request.raw)
    ? readAtOnce(stream, limitBytes)
    : collectBody(stream, limitBytes, declared);
}

/** True while the body has not been read and is (or may be, without a declared length) larger than `bytes`. */
export function hasUnreadBodyAbove(request: FastifyRequest, bytes: number): boolean {
  if ((request as HeldRequest)[UNREAD] === undefined) return false;
  const declared = request.headers['content-length'];
  return declared === undefined
    ? request.headers['transfer-encoding'] !== undefined
    : Number(declared) > bytes;
}

// A small body comes in one piece with its head, and is here by the time that the guards have run.
function isHere(stream: NodeJS.ReadableStream, raw: IncomingMessage): stream is IncomingMessage {
  return stream === raw && raw.complete && raw.readableFlowing === null && raw.readableLength < SMALL_BYTES;
}

function readAtOnce(raw: IncomingMessage, limitBytes: number): Buffer<ArrayBuffer> {
  const body = (raw.read() as Buffer<ArrayBuffer> | null) ?? NO_BODY;
  if (body.length > limitBytes) throw new MarlineError('PAYLOAD_TOO_LARGE', { limitBytes });
  return body;
}

// As a route's own hook it is the last before Fastify looks at the content type: hooks of the host still see the client's.
const takeBody: preParsingHookHandler = (request, _reply, payload, done) => {
  const { raw } = request;
  (request as HeldRequest)[UNREAD] = payload;
  if (raw.method !== 'GET' && raw.method !== 'HEAD' && raw.method !== 'TRACE') {
    (request as HeldRequest)[CONTENT_TYPE] = raw.headers['content-type'] ?? null;
    raw.headers['content-type'] = PRIVATE_TYPE;
  }
  done(null, payload);
};

function restoreContentType(request: HeldRequest): void {
  const original = request[CONTENT_TYPE];
  if (original === undefined) return;
  request[CONTENT_TYPE] = undefined;
  if (original === null) delete request.raw.headers['content-type'];
  else request.raw.headers['content-type'] = original;
}
