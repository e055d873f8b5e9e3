import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyHttpOptions, FastifyInstance, FastifyRequest, RouteOptions } from 'fastify';
import { MarlineError, toMarlineError } from '#libs/common';
import { errorBody, sendError } from './exception.filter.js';
import { assertEscapes } from './percent-escapes.js';
import { LISTENER, planesOf, type PlaneName } from './plane.js';
import { closeConnectionsOnError, errorAnswer } from './response-head.js';
import { routeMarks } from './route-marks.js';

/** Longest time that a client may take to send its request; Fastify's own default is no limit. */
const REQUEST_TIMEOUT_MS = 300_000;
const MAX_NAME_LENGTH = 1024;
/** Of a request, with method and version. */
const MAX_LINE_LENGTH = 4096;
/** Nest has no route for an empty name; to TorchServe it means the only model, as the other route of SageMaker does. */
const NAMELESS_INVOKE = /^\/models\/\/invoke\/?(?=$|\?)/;

/**
 * Fastify options of the standalone server: paths as TorchServe reads them, its error body for requests that are no HTTP
 * or have a broken path, a bound on slow senders.
 * @example new FastifyAdapter(torchServeServerOptions())
 */
export function torchServeServerOptions() {
  return {
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_NAME_LENGTH },
    clientErrorHandler: answerMalformedHttp,
    http: LISTENER,
    rewriteUrl: ({ url = '' }) =>
      NAMELESS_INVOKE.test(url) ? url.replace(NAMELESS_INVOKE, '/invocations') : url,
    frameworkErrors: (_error, { raw }, reply) => sendError(reply, pathError(raw.url ?? '')),
  } satisfies FastifyHttpOptions<Server>;
}

/**
 * Makes a standalone application answer what it has no route for as TorchServe does: 405 where only the method is wrong,
 * else 404; and makes error answers end their connection. To be called beside {@link usePlanes}, before initialisation.
 */
export function useTorchServeErrors(fastify: FastifyInstance): void {
  const paths: { readonly plane?: PlaneName; readonly pattern: RegExp }[] = [{ pattern: /^\/*$/ }];
  closeConnectionsOnError(fastify);
  fastify.addHook('onRoute', (route) => {
    paths.push({ plane: routeMarks(route.config).plane, pattern: patternOf(route) });
  });
  fastify.addHook('onRequest', (request, reply, done) => {
    // Node takes a request line without a version as one of HTTP/0.9.
    if (request.raw.httpVersionMajor === 0 || lineLength(request) > MAX_LINE_LENGTH)
      return sendError(reply, invalidHttp());
    if (isHeadOfManagement(request)) return sendError(reply, new MarlineError('METHOD_NOT_ALLOWED'));
    // Of "OPTIONS *"; the router takes it for whatever it likes.
    if (request.url === '*') return sendError(reply, new MarlineError('RESOURCE_NOT_FOUND'));
    if (!request.is404 && !hasEmptyParameter(request)) return done();
    const planes = planesOf(request);
    const path = request.url.split('?', 1)[0] ?? '';
    const isKnown = paths.some(
      ({ plane, pattern }) => (plane === undefined || planes.includes(plane)) && pattern.test(path),
    );
    const error = new MarlineError(isKnown ? 'METHOD_NOT_ALLOWED' : 'RESOURCE_NOT_FOUND');
    sendError(reply, error);
  });
}

/** What is wrong with a path that the router did not take. */
function pathError(target: string): MarlineError {
  try {
    assertEscapes(target.split('?', 1)[0] ?? '');
    return new MarlineError('BAD_REQUEST', {
      reason: `The path of the request is no UTF-8 when decoded, or has a name of more than ${MAX_NAME_LENGTH} characters.`,
    });
  } catch (error) {
    return toMarlineError(error);
  }
}

/** Fastify takes HEAD where GET is; TorchServe's management does not. */
function isHeadOfManagement({ method, routeOptions }: FastifyRequest): boolean {
  return method === 'HEAD' && routeMarks(routeOptions.config).plane === 'management';
}

function answerMalformedHttp(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const refusal = invalidHttp();
  socket.end(errorAnswer(refusal.status, errorBody(refusal)), () => socket.destroy());
}

function invalidHttp(): MarlineError {
  return new MarlineError('BAD_REQUEST', { reason: 'Invalid HTTP message.' });
}

function lineLength({ method, originalUrl }: FastifyRequest): number {
  return method.length + originalUrl.length + '  HTTP/1.1'.length;
}

/** Nest takes no route for a path with an empty name in it, and answers in its own shape. */
function hasEmptyParameter({ params }: FastifyRequest): boolean {
  return Object.entries(params as Record<string, string>).some(
    ([name, value]) => value === '' && name !== '*',
  );
}

function patternOf({ url }: RouteOptions): RegExp {
  const segments = url.split('/').map((segment) => {
    if (segment.startsWith('*')) return '.*';
    return segment.startsWith(':') ? '[^/]+' : segment.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${segments.join('/')}/?$`);
}
