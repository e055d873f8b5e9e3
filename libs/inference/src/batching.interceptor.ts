import type { ServerResponse } from 'node:http';
import {
  ForbiddenException,
  HttpException,
  Logger,
  ServiceUnavailableException,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { Observable } from 'rxjs';
import { MarlineError, toMarlineError } from '#libs/common';
import { ClientGone } from './client-gone.js';
import type { ServedModel } from './served-model.js';

/** What a route finds under `attach`: the model's answer, or why there is none. @publicApi */
export type Inference<Output> =
  | { readonly answer: Output; readonly failure?: undefined }
  | { readonly answer?: undefined; readonly failure: MarlineError };

/** The parts of a Fastify request that an input is usually made of, after the host's guards and before its pipes. @publicApi */
export interface InferRequest {
  readonly body: unknown;
  readonly params: unknown;
  readonly query: unknown;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** How a route asks a model about a passing request. @publicApi */
export interface InferOptions<Input, Output, Request> {
  /** Makes the model's input. What it throws ends the request as if the route had thrown it. */
  readonly input: (request: Request, context: ExecutionContext) => Input | Promise<Input>;
  /** Name of the request's property that gets the {@link Inference}; read it with {@link Inferred}. Not attached by default. */
  readonly attach?: string;
  /** Milliseconds that the model may take, queue included. */
  readonly budgetMs: number;
  /**
   * When the budget is spent or the model fails or is missing: `open` lets the request through, `closed` answers 503.
   * With `open`, an input that the model cannot take passes unchecked too.
   */
  readonly onFailure: 'open' | 'closed';
  /** True refuses the request with 403. Nothing is refused by default. */
  readonly refuseIf?: (answer: Output) => boolean;
  /** The default version of the model when not given. */
  readonly version?: string;
}

const CLIENT_CLOSED_REQUEST = 499;
const WARN_EVERY_MS = 60_000;

/**
 * Carries a passing request of the application's own routes into a model's batcher before its route runs: what `@Infer` puts in
 * front of a route.
 */
export class BatchingInterceptor<Input, Output, Request> implements NestInterceptor {
  #warnedAt = -Infinity;

  constructor(
    private readonly model: ServedModel<Input, Output>,
    private readonly options: InferOptions<Input, Output, Request>,
  ) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const http = context.switchToHttp();
    const request = http.getRequest<Request>();
    const { input, attach, onFailure, refuseIf } = this.options;
    if (attach !== undefined) mustBeFree(request as Record<string, unknown>, attach);
    const inference = await this.#infer(
      await input(request, context),
      http.getResponse<{ raw: ServerResponse }>().raw,
    );
    if (inference.failure !== undefined) {
      if (inference.failure.code === 'REQUEST_CANCELLED')
        throw new HttpException('The client left.', CLIENT_CLOSED_REQUEST);
      this.#warn(inference.failure);
      if (onFailure === 'closed') {
        throw new ServiceUnavailableException('The request could not be checked; try again later.', {
          cause: inference.failure,
        });
      }
    } else if (refuseIf?.(inference.answer) === true) {
      throw new ForbiddenException('The request was refused.');
    }
    if (attach !== undefined) (request as Record<string, unknown>)[attach] = inference;
    return next.handle();
  }

  async #infer(input: Input, response: ServerResponse): Promise<Inference<Output>> {
    const { budgetMs, version } = this.options;
    const signal = new ClientGone(response);
    try {
      return { answer: await this.model.predict(input, { deadlineMs: budgetMs, version, signal }) };
    } catch (error) {
      return { failure: toMarlineError(error) };
    }
  }

  // A route that lets requests through must not do so unnoticed, nor write a line per request while it is overloaded.
  #warn(failure: MarlineError): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_EVERY_MS) return;
    this.#warnedAt = now;
    const outcome = this.options.onFailure === 'open' ? 'passed unchecked' : 'refused';
    new Logger('Marline').warn(
      `Model ${this.model.name} gave no answer, so a request was ${outcome}: ${failure.message} (told once a minute)`,
    );
  }
}

function mustBeFree(request: Record<string, unknown>, property: string): void {
  if (request[property] === undefined || request[property] === null) return;
  throw new MarlineError('OPTIONS_INVALID', {
    reason: `@Infer cannot attach its answer: the request has a property "${property}" already. Choose another name.`,
  });
}
