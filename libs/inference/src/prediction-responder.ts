import { Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError, isMarlineError, type ProtocolInput, type RawInput } from '#libs/common';
import { ClientGone } from './client-gone.js';
import { ownError } from './exception.filter.js';
import { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
import { ModelRegistry } from './model-registry.js';
import type { ModelRuntime } from './model-runtime.js';
import { hasUnreadBodyAbove, readRawBody } from './raw-body.js';
import { modelDocument } from './inference-document.js';
import { deadlineOf, scheduleOf } from './request-bounds.js';
import { nameRequest } from './request-id.js';
import { sendJson } from './response-head.js';
import { sendAnswer } from './send-answer.js';

/** What a request asks for. */
export interface PredictionTarget {
  readonly model: string;
  /** The default version when not given. */
  readonly version?: string;
  /** True answers without the fields that only TorchServe's routes have. */
  readonly native?: boolean;
  /** True when the body was read already, to find the model. */
  readonly isRead?: boolean;
  /** What the model gets; the worker may take the body over. */
  input(request: FastifyRequest, body: Buffer<ArrayBuffer>): RawInput | ProtocolInput;
}

/** Says which version answered, where the caller left the choice to a split. */
export const VERSION_HEADER = 'x-model-version';
/** A body that is not worth reading when the queue has no room for it. */
const LARGE_BODY_BYTES = 64 * 1024;
const READ_ALREADY = Buffer.alloc(0);

/**
 * Carries an HTTP request into the registry and its answer, one or a stream of chunks, out. A client that
 * disconnects cancels its request; a stream goes no faster than its client reads, and one that fails after its first
 * chunk ends the connection, because its status is out already.
 *
 * Controllers call it instead of returning through Nest's interceptors, which cost 8 to 10 µs: a third of all that the main
 * thread does for a small request.
 */
@Injectable()
export class PredictionResponder {
  constructor(
    private readonly registry: ModelRegistry,
    @Inject(INFERENCE_OPTIONS) private readonly options: InferenceOptions,
  ) {}

  /**
   * Sends the answer. Rejects with one of our errors, or with an exception of Nest's. OPTIONS, which a browser sends before a
   * request, runs no model: it is answered by TorchServe's description of it.
   * @param drawn what the registry gave for this request already
   */
  async respond(
    target: PredictionTarget,
    request: FastifyRequest,
    reply: FastifyReply,
    drawn?: ModelRuntime,
  ): Promise<void> {
    try {
      if (request.raw.method === 'OPTIONS')
        sendJson(reply, 200, modelDocument(this.registry.get(target.model, target.version).name));
      else await this.#answer(target, request, reply, drawn);
    } catch (error) {
      throw ownError(withAskedVersion(error, target));
    }
  }

  async #answer(
    target: PredictionTarget,
    request: FastifyRequest,
    reply: FastifyReply,
    drawn: ModelRuntime | undefined,
  ): Promise<void> {
    const { registry } = this;
    const { model, version } = target;
    const { rawHeaders } = request.raw;
    const runtime = drawn ?? registry.route(model, version, rawHeaders);
    const id = nameRequest(reply);
    const deadlineMs = deadlineOf(request, runtime.settings.clientTimeoutInMills);
    const startedAt = deadlineMs === undefined ? 0 : performance.now();
    const { priority, tenant } = scheduleOf(request, this.options.schedule);
    if (hasUnreadBodyAbove(request, LARGE_BODY_BYTES) && runtime.queue().remainingCapacity <= 0)
      throw runtime.refuseUnread(id, version);
    const body =
      target.isRead === true ? READ_ALREADY : await readRawBody(request, this.options.maxRequestSize);
    // Asked again: while the body was read, another version may have taken this one's place.
    const answering = registry.route(model, version, rawHeaders, runtime);
    if (version === undefined && registry.isSplit(model)) reply.header(VERSION_HEADER, answering.version);
    const answer = await answering.predict({
      id,
      version,
      input: target.input(request, body),
      deadlineMs: deadlineMs === undefined ? undefined : timeLeft(deadlineMs, startedAt),
      signal: new ClientGone(reply.raw),
      priority,
      tenant,
    });
    await sendAnswer(reply, answer, target.native === true);
  }
}

/** The time that a slow upload took is gone. */
function timeLeft(deadlineMs: number, startedAt: number): number {
  const leftMs = Math.round(deadlineMs - (performance.now() - startedAt));
  if (leftMs < 1) throw new MarlineError('DEADLINE_EXCEEDED', { deadlineMs });
  return leftMs;
}

/** TorchServe words some errors differently when the client named a version. */
export function withAskedVersion(
  error: unknown,
  target: Pick<PredictionTarget, 'model' | 'version'>,
): unknown {
  if (target.version === undefined || !isMarlineError(error)) return error;
  if (!['NO_WORKER', 'QUEUE_FULL', 'OVERLOADED', 'SEQUENCE_REFUSED'].includes(error.code)) return error;
  const { model, version } = target;
  return new MarlineError(error.code, { ...error.details, model, version }, { cause: error });
}
