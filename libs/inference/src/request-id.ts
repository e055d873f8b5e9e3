import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply } from 'fastify';

const REQUEST_ID = Symbol('marline.requestId');
const FOLLOWER = Symbol('marline.requestFollower');

interface NamedResponse {
  [REQUEST_ID]?: string;
}

type Follower = (response: ServerResponse, requestId: string) => void;

interface FollowedInstance extends FastifyInstance {
  [FOLLOWER]?: Follower;
}

/**
 * Tells which response is for which id, before a model is asked, so that what an observer is told by id can be brought together
 * with what a listener sees. A property and not a hook of Fastify, as for `tellAnswers`.
 */
export function followRequests(fastify: FastifyInstance, follower: Follower): void {
  (fastify as FollowedInstance)[FOLLOWER] = follower;
}

/** Gives a request that asks a model its id: observers are told it, and every answer has it, that to an error, too. */
export function nameRequest(reply: FastifyReply): string {
  const requestId = randomUUID();
  (reply.raw as NamedResponse)[REQUEST_ID] = requestId;
  (reply.server as FollowedInstance)[FOLLOWER]?.(reply.raw, requestId);
  return requestId;
}

/** The id of the request that a response is for, which it is given now if it has none. */
export function requestIdFor(response: ServerResponse): string {
  return ((response as NamedResponse)[REQUEST_ID] ??= randomUUID());
}

/** The `x-request-id` of a response; `undefined` for one that has none. */
export function requestIdOf(response: ServerResponse): string | undefined {
  return (response as NamedResponse)[REQUEST_ID];
}
