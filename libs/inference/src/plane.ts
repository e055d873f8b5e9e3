import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { tagRoutes } from './documented.js';
import { markRoute, routeMarks } from './route-marks.js';

/** TorchServe's ports: which of them serves a route. */
export type PlaneName = 'inference' | 'management' | 'metrics';

const CONSTRAINT = 'plane';
/** What Node's HTTP servers are told so that they listen as TorchServe's. */
export const LISTENER = {
  // Load balancers were configured to ask for `/ping` without one.
  requireHostHeader: false,
  /** Of the head of a request, in bytes. */
  maxHeaderSize: 8 * 1024,
} as const;
const planesOfListener = new WeakMap<FastifyInstance, readonly PlaneName[]>();
const planesOfRequest = new WeakMap<IncomingMessage, readonly PlaneName[]>();

/** The tag of a plane's routes in an OpenAPI document. */
export function planeTag(plane: PlaneName): string {
  return `Marline ${plane}`;
}

/**
 * Names the port of TorchServe that serves the routes of a controller. It has an effect only after {@link usePlanes};
 * mounted in a gateway all routes are on the gateway's port.
 */
export function Plane(plane: PlaneName): ClassDecorator {
  return (controller) => {
    tagRoutes(controller, planeTag(plane));
    const prototype = controller.prototype as Record<string, unknown>;
    for (const name of Object.getOwnPropertyNames(prototype)) {
      const method = prototype[name];
      if (name !== 'constructor' && typeof method === 'function') markRoute(method, { plane });
    }
  };
}

/**
 * Separates the planes of a standalone application by port: its own listener serves `ownPlanes` (more than one where
 * addresses are equal), {@link servePlanes} makes further listeners. Routes without a plane are served everywhere.
 * To be called before the application is initialised.
 */
export function usePlanes(fastify: FastifyInstance, ownPlanes: readonly PlaneName[] = ['inference']): void {
  planesOfListener.set(fastify, ownPlanes);
  fastify.addConstraintStrategy({
    name: CONSTRAINT,
    storage: routeStorage,
    deriveConstraint: (request) => planesOfRequest.get(request) ?? ownPlanes,
  });
  fastify.addHook('onRoute', (route) => {
    const { plane } = routeMarks(route.config);
    if (plane !== undefined) route.constraints = { ...route.constraints, [CONSTRAINT]: plane };
  });
}

/**
 * A further listener of the same application that serves other planes, with the time limits of its own and the same answer
 * to what is no HTTP. The caller listens on it and closes it.
 * @param create makes the server, for one that speaks TLS
 * @example servePlanes(fastify, ['management']).listen(8081, '127.0.0.1');
 */
export function servePlanes(
  fastify: FastifyInstance,
  planes: readonly PlaneName[],
  create: (listener: RequestListener) => Server = createHttpServer,
): Server {
  const server = create((request, response) => {
    planesOfRequest.set(request, planes);
    fastify.routing(request, response);
  });
  for (const listener of fastify.server.listeners('clientError'))
    server.on('clientError', listener as () => void);
  const { keepAliveTimeout, requestTimeout, headersTimeout } = fastify.server;
  return Object.assign(server, { keepAliveTimeout, requestTimeout, headersTimeout });
}

function createHttpServer(listener: RequestListener): Server {
  return createServer(LISTENER, listener);
}

/** The planes that the listener of a request serves. */
export function planesOf({ raw, server }: FastifyRequest): readonly PlaneName[] {
  return planesOfRequest.get(raw) ?? planesOfListener.get(server) ?? [];
}

function routeStorage<Handler>() {
  const handlers = new Map<unknown, Handler>();
  return {
    get(planes: unknown): Handler | null {
      for (const plane of planes as readonly PlaneName[]) {
        const handler = handlers.get(plane);
        if (handler !== undefined) return handler;
      }
      return null;
    },
    set: (plane: unknown, handler: Handler) => void handlers.set(plane, handler),
    del: (plane: unknown) => void handlers.delete(plane),
    empty: () => handlers.clear(),
  };
}
