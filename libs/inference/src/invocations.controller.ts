import { All, Controller, Inject, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import { DocumentedAs } from './documented.js';
import { INVOCATIONS, INVOKE } from './inference-docs.js';
import { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
import { ModelRegistry } from './model-registry.js';
import { PredictionResponder } from './prediction-responder.js';
import { RawBody, readRawBody } from './raw-body.js';
import { RawTarget, readBody } from './raw-target.js';
import { queryParameters } from './request-parameters.js';
import { TorchServeRoutes } from './torchserve-routes.js';

const NAME_PARAMETER = 'model_name';

/**
 * The routes by which SageMaker asks models, for every HTTP method: the default version answers, parameters of the query come before those
 * of the body, and the handler is told nothing of the route.
 */
@Controller()
@TorchServeRoutes('inference')
export class InvocationsController {
  constructor(
    private readonly registry: ModelRegistry,
    private readonly responder: PredictionResponder,
    @Inject(INFERENCE_OPTIONS) private readonly options: InferenceOptions,
  ) {}

  /** Asks the model that `model_name` names in the query; else the only model of the start-up list; else the one that a field of the body names. */
  @DocumentedAs('post', INVOCATIONS)
  @All('invocations')
  @RawBody()
  invocations(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const query = new URLSearchParams(request.raw.url?.split('?')[1]);
    return this.#invoke(query.get(NAME_PARAMETER) ?? '', request, reply);
  }

  /** Asks the model in the path. */
  @DocumentedAs('post', INVOKE)
  @All('models/:model/invoke')
  @RawBody()
  invoke(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.#invoke((request.params as { model: string }).model, request, reply);
  }

  async #invoke(name: string, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const query = queryParameters(request.raw.url ?? '');
    const known = name === '' ? this.#onlyStartupModel() : name;
    if (known !== undefined) {
      await this.responder.respond(new RawTarget(known, undefined, {}, query), request, reply);
      return;
    }
    const bytes = await readRawBody(request, this.options.maxRequestSize);
    const body = readBody(request.headers['content-type'], bytes);
    const field = [...query, ...body.parameters].findLast((parameter) => parameter.name === NAME_PARAMETER);
    if (field === undefined)
      throw new MarlineError('BAD_REQUEST', { reason: `Parameter ${NAME_PARAMETER} is required.` });
    const model = Buffer.from(field.value).toString();
    await this.responder.respond(new RawTarget(model, undefined, {}, query, body), request, reply);
  }

  #onlyStartupModel(): string | undefined {
    const names = new Set(
      this.registry.all().flatMap((model) => (model.loadedAtStartup ? [model.name] : [])),
    );
    return names.size === 1 ? [...names][0] : undefined;
  }
}
