import { RouteConfig } from '@nestjs/platform-fastify';
import type { PlaneName } from './plane.js';

/** What our decorators say about a route; it stands under `marline` in Fastify's route config, where hooks find it. */
export interface RouteMarks {
  readonly rawBody?: boolean;
  readonly plane?: PlaneName;
}

const marksOf = new WeakMap<object, RouteMarks>();

/** Adds marks to a controller's method; marks of earlier calls stay. */
export function markRoute(method: object, marks: RouteMarks): void {
  const merged = { ...marksOf.get(method), ...marks };
  marksOf.set(method, merged);
  // Called as for a class: Nest then keeps the metadata on the function itself, where its router reads it.
  RouteConfig({ marline: merged })(method as never);
}

/** The port that serves what a controller's method answers; `undefined` when it was not said. */
export function planeOf(method: object): PlaneName | undefined {
  return marksOf.get(method)?.plane;
}

/** The marks of a Fastify route, as its `onRoute` hook sees them. */
export function routeMarks(config: unknown): RouteMarks {
  return (config as { marline?: RouteMarks } | undefined)?.marline ?? {};
}
