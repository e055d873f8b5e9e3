import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Undocumented } from './documented.js';
import { PredictionResponder } from './prediction-responder.js';
import { RawBody } from './raw-body.js';
import { RawTarget } from './raw-target.js';
import { queryParameters } from './request-parameters.js';
import { TorchServeRoutes } from './torchserve-routes.js';

/**
 * The oldest of TorchServe's prediction routes, for every HTTP method. They begin with a parameter and would stand in the way of a
 * host's routes, so only the standalone server has them.
 */
@Controller()
@TorchServeRoutes('inference', [])
export class LegacyPredictionsController {
  constructor(private readonly responder: PredictionResponder) {}

  /** Answers with the default version, or the one in the path. */
  @Undocumented()
  @All([':model/predict', ':model/:version/predict'])
  @RawBody()
  predict(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as { model: string; version?: string };
    const query = queryParameters(request.raw.url ?? '');
    return this.responder.respond(new RawTarget(model, version, {}, query), request, reply);
  }
}
