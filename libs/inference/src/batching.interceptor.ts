import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { from, mergeMap, type Observable } from 'rxjs';
import { MarlineError, isMarlineError, type ItemOutput, type ItemResult } from '#libs/common';
import { encodeOutput, encodeTensors } from '#libs/handler';
import { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
import { ModelRegistry } from './model-registry.js';
import type { ModelRuntime } from './model-runtime.js';
import type { PredictionAnswer } from './prediction.js';
import { hasUnreadBodyAbove, readRawBody } from './raw-body.js';
import { toHeaders, toParameters } from './request-parameters.js';
import { sendBody } from './response-head.js';

/** Which model a request is for: what a controller's method returns to have it answered. */
export interface PredictionTarget {
  readonly model: string;
  /** The default version when not given. */
  readonly version?: string;
  readonly urlPath: string;
  readonly explain: boolean;
}

/** A body that is not worth reading when the queue has no room for it. */
const LARGE_BODY_BYTES = 64 * 1024;

/**
 * Carries an HTTP request into the registry and its answer, one or a stream of chunks, out. A client that
 * disconnects cancels its request; a stream goes no faster than its client reads, and one that fails after its first
 * chunk ends the connection, because its status is out already.
 */
@Injectable()
export class BatchingInterceptor implements NestInterceptor<PredictionTarget, void> {
  constructor(
    private readonly registry: ModelRegistry,
    @Inject(INFERENCE_OPTIONS) private readonly options: InferenceOptions,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler<PredictionTarget>): Observable<void> {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    return next.handle().pipe(mergeMap((target) => from(this.#answer(target, request, reply))));
  }

  async #answer(target: PredictionTarget, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const runtime = this.registry.get(target.model, target.version);
    const requestId = randomUUID();
    try {
      const answer = await this.#predict(runtime, target, requestId, request, reply);
      if (answer.streaming) await sendStream(reply, requestId, answer.first, answer.rest);
      else sendResult(reply, requestId, answer.result);
    } catch (error) {
      throw withAskedVersion(error, target);
    }
  }

  async #predict(
    runtime: ModelRuntime,
    { explain, urlPath }: PredictionTarget,
    id: string,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<PredictionAnswer> {
    if (hasUnreadBodyAbove(request, LARGE_BODY_BYTES) && runtime.queue().remainingCapacity <= 0) {
      throw new MarlineError('QUEUE_FULL', { model: runtime.name });
    }
    const body = await readRawBody(request, this.options.maxRequestSize);
    return runtime.predict({
      id,
      input: {
        kind: 'raw',
        headers: toHeaders(request.raw.rawHeaders, { explain, urlPath }),
        parameters: toParameters(request.headers['content-type'], body),
      },
      deadlineMs: runtime.settings.clientTimeoutInMills || undefined,
      signal: goneSignal(reply),
    });
  }
}

// The request's own 'close' fires as soon as its body is read; only the response knows that the client left.
function goneSignal({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController();
  if (raw.destroyed) controller.abort();
  else raw.once('close', () => raw.writableFinished || controller.abort());
  return controller.signal;
}

function sendResult(
  reply: FastifyReply,
  requestId: string,
  { status, reason, headers, output }: ItemResult,
): void {
  sendBody(reply, { status: valid(status), reason, headers, requestId }, bytesOf(output));
}

async function sendStream(
  reply: FastifyReply,
  requestId: string,
  first: ItemResult,
  rest: AsyncIterable<ItemResult>,
): Promise<void> {
  const { status, reason, headers } = first;
  async function* chunks(): AsyncGenerator<Buffer> {
    yield bytesOf(first.output);
    for await (const { output } of rest) yield bytesOf(output);
  }
  const body = Readable.from(chunks(), { highWaterMark: 1 });
  sendBody(reply, { status: valid(status), reason, headers, requestId }, body);
  await once(reply.raw, 'close');
}

function bytesOf(output: ItemOutput): Buffer {
  if (output.kind === 'value') return bytesOf(encodeOutput(output.value));
  if (output.kind === 'tensors') return bytesOf(encodeOutput({ outputs: encodeTensors(output.tensors) }));
  if (output.kind === 'text') return Buffer.from(output.text);
  const { buffer, byteOffset, byteLength } = output.bytes;
  return Buffer.from(buffer, byteOffset, byteLength);
}

function valid(status: number): number {
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new MarlineError(
      'INVALID_OUTPUT',
      {},
      { cause: new Error(`The handler set the status ${status}; 200 to 599 are possible.`) },
    );
  }
  return status;
}

// TorchServe words these errors differently when the client named a version.
function withAskedVersion(error: unknown, { model, version }: PredictionTarget): unknown {
  if (version === undefined || !isMarlineError(error) || !['NO_WORKER', 'QUEUE_FULL'].includes(error.code))
    return error;
  return new MarlineError(error.code, { model, version }, { cause: error });
}
