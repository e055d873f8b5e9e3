import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import { DocumentedAs } from './documented.js';
import { EXPLAIN, KSERVE_V1 } from './inference-docs.js';
import { sendModelReadiness } from './model-readiness.js';
import { ModelRegistry } from './model-registry.js';
import { planesOf } from './plane.js';
import { PredictionResponder } from './prediction-responder.js';
import { RawBody } from './raw-body.js';
import { RawTarget } from './raw-target.js';
import { TorchServeRoutes } from './torchserve-routes.js';

/**
 * KServe's routes as TorchServe has them, for every HTTP method: the default version answers, and its handler gets the body as it is, or
 * what the service envelope makes of it. The open inference protocol itself stands beside them.
 */
@Controller()
@TorchServeRoutes('inference', [])
export class KServeController {
  constructor(
    private readonly responder: PredictionResponder,
    private readonly registry: ModelRegistry,
  ) {}

  /** KServe's version 1: `{model}:predict` and `{model}:explain`. */
  @DocumentedAs('post', KSERVE_V1)
  @All('v1/models/:target')
  @RawBody()
  async v1(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { target } = request.params as { target: string };
    const verb = /:(predict|explain)/.exec(target)?.[1];
    if (verb === undefined) return this.#readiness(target, request, reply);
    const model = target.slice(0, target.indexOf(':'));
    const explain = verb === 'explain';
    await this.responder.respond(new RawTarget(model, undefined, { explain }), request, reply);
  }

  /** On one port for all, the path of a model is also TorchServe's question of the management port whether it is ready. */
  #readiness(target: string, request: FastifyRequest, reply: FastifyReply): void {
    if (request.method !== 'GET' || !planesOf(request).includes('management'))
      throw new MarlineError('RESOURCE_NOT_FOUND');
    sendModelReadiness(this.registry, target, reply);
  }

  /** The explanation that version 2 has no words for. */
  @DocumentedAs('post', EXPLAIN)
  @All('v2/models/:model/explain')
  @RawBody()
  explain(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model } = request.params as { model: string };
    return this.responder.respond(new RawTarget(model, undefined, { explain: true }), request, reply);
  }
}
