import { randomUUID } from 'node:crypto';
import type { HttpServer } from '@nestjs/common';
import type { FastifyInstance, FastifyRequest, preParsingHookHandler } from 'fastify';
import { MarlineError } from '#libs/common';
import { markRoute, routeMarks } from './route-marks.js';

// Fastify chooses a parser by content type alone: with a type that no client can guess, only our routes reach this one.
const PRIVATE_TYPE = `application/vnd.marline.${randomUUID()}`;
const FIRST_CAPACITY = 16 * 1024;

const unreadBodies = new WeakMap<FastifyRequest, NodeJS.ReadableStream>();
const replacedTypes = new WeakMap<FastifyRequest, string | undefined>();

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
 * The whole body of a request of a {@link RawBody} route, in a buffer of its own that the caller may give away.
 * @throws MarlineError `PAYLOAD_TOO_LARGE` above `limitBytes`, before reading when the client declared the length;
 *   `REQUEST_CANCELLED` when the client goes away meanwhile
 */
export async function readRawBody(request: FastifyRequest, limitBytes: number): Promise<Buffer<ArrayBuffer>> {
  restoreContentType(request);
  const stream = unreadBodies.get(request);
  unreadBodies.delete(request);
  if (stream === undefined) {
    throw new MarlineError('INTERNAL', {
      reason: 'The body was read already, or installRawBody() was not called for this application.',
    });
  }
  const declared = Number(request.headers['content-length'] ?? NaN);
  if (declared > limitBytes) throw new MarlineError('PAYLOAD_TOO_LARGE', { limitBytes });
  return collect(stream, limitBytes, declared);
}

/** True while the body has not been read and is (or may be, without a declared length) larger than `bytes`. */
export function hasUnreadBodyAbove(request: FastifyRequest, bytes: number): boolean {
  if (!unreadBodies.has(request)) return false;
  const declared = request.headers['content-length'];
  return declared === undefined
    ? request.headers['transfer-encoding'] !== undefined
    : Number(declared) > bytes;
}

// As a route's own hook it is the last before Fastify looks at the content type: hooks of the host still see the client's.
const takeBody: preParsingHookHandler = (request, _reply, payload, done) => {
  unreadBodies.set(request, payload);
  if (!['GET', 'HEAD', 'TRACE'].includes(request.method)) {
    replacedTypes.set(request, request.raw.headers['content-type']);
    request.raw.headers['content-type'] = PRIVATE_TYPE;
  }
  done(null, payload);
};

function restoreContentType(request: FastifyRequest): void {
  if (!replacedTypes.has(request)) return;
  const original = replacedTypes.get(request);
  replacedTypes.delete(request);
  if (original === undefined) delete request.raw.headers['content-type'];
  else request.raw.headers['content-type'] = original;
}

// One growing buffer instead of a list: three million chunks of one byte would cost a hundred times their size.
function collect(
  stream: NodeJS.ReadableStream,
  limitBytes: number,
  declared: number,
): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    let body = Buffer.allocUnsafeSlow(Math.min(declared || FIRST_CAPACITY, FIRST_CAPACITY));
    let size = 0;
    const settle = (finish: () => void) => {
      stream.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone);
      finish();
    };
    const onData = (chunk: Buffer) => {
      const needed = size + chunk.length;
      if (needed > limitBytes) {
        settle(() => {
          // What still comes is thrown away, so that the answer reaches the client.
          stream.on('error', () => {}).resume();
          reject(new MarlineError('PAYLOAD_TOO_LARGE', { limitBytes }));
        });
        return;
      }
      if (needed > body.length)
        body = resized(
          body,
          size,
          Math.min(Math.max(needed, 2 * body.length), declared >= needed ? declared : limitBytes),
        );
      chunk.copy(body, size);
      size = needed;
    };
    const onEnd = () => settle(() => resolve(size === body.length ? body : resized(body, size, size)));
    const onGone = (cause?: Error) =>
      settle(() => reject(new MarlineError('REQUEST_CANCELLED', {}, { cause })));
    stream.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone);
  });
}

function resized(buffer: Buffer, used: number, capacity: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafeSlow(capacity);
  buffer.copy(larger, 0, 0, used);
  return larger;
}
