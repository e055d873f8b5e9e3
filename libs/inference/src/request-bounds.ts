import type { FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import { isPriority, type PredictionRequest } from './prediction.js';

/** Who goes first, and for whom. @publicApi */
export type RequestSchedule = Pick<PredictionRequest, 'priority' | 'tenant'>;

/**
 * Says by a request, after the guards and before its body is read, who goes first when requests wait and for whom each is.
 * @publicApi
 */
export type ScheduleRequest = (request: FastifyRequest) => RequestSchedule | undefined;

const TIMEOUT_HEADER = 'x-request-timeout-ms';
const UNSCHEDULED: RequestSchedule = {};

/**
 * Milliseconds within which the client wants its answer: what its `x-request-timeout-ms` says, but no more than the model's
 * `clientTimeoutInMills`; `undefined` when neither is set.
 * @throws MarlineError `BAD_REQUEST` when the header is no whole number from 1 up
 */
export function deadlineOf(
  { headers }: Pick<FastifyRequest, 'headers'>,
  clientTimeoutInMills: number,
): number | undefined {
  const limitMs = clientTimeoutInMills > 0 ? clientTimeoutInMills : undefined;
  const text = headers[TIMEOUT_HEADER];
  if (text === undefined) return limitMs;
  const askedMs = typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (askedMs === 0) {
    throw new MarlineError('BAD_REQUEST', {
      reason: `The header ${TIMEOUT_HEADER} is ${JSON.stringify(text).slice(0, 100)}; give the milliseconds that you still wait as a whole number from 1 up.`,
    });
  }
  return limitMs === undefined ? askedMs : Math.min(askedMs, limitMs);
}

/**
 * What the application's hook says about a request.
 * @throws MarlineError `INTERNAL`, with the cause for the log, when the hook throws or says what nobody understands
 */
export function scheduleOf(request: FastifyRequest, schedule: ScheduleRequest | undefined): RequestSchedule {
  if (schedule === undefined) return UNSCHEDULED;
  try {
    return checked(schedule(request));
  } catch (cause) {
    throw new MarlineError('INTERNAL', {}, { cause });
  }
}

function checked(said: unknown): RequestSchedule {
  if (said === undefined) return UNSCHEDULED;
  // A promise that nobody waits for must not end the process when it is rejected.
  if (said instanceof Promise) said.catch(() => {});
  if (typeof said !== 'object' || said === null || 'then' in said)
    throw new TypeError(
      'The option schedule must return { priority, tenant } or nothing, and no promise: it is asked for each request.',
    );
  const { priority, tenant } = said as { priority?: unknown; tenant?: unknown };
  if (priority !== undefined && !isPriority(priority))
    throw new TypeError(
      `The option schedule returned the priority ${shown(priority)}; return 'high', 'normal' or 'low'.`,
    );
  if (tenant !== undefined && typeof tenant !== 'string')
    throw new TypeError(`The option schedule returned the tenant ${shown(tenant)}; return a text.`);
  return said;
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : typeof value;
}
