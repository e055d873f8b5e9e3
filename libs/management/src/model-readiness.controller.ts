import { Controller, Get, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Documented, ModelRegistry, TorchServeRoutes, sendModelReadiness } from '#libs/inference';
import { READINESS } from './models-docs.js';

/**
 * KServe's question whether a model is ready, which TorchServe answers on its management port. Only the standalone server has it: in a
 * gateway it would be in the way of the predictions, and there `/v2/models/{model}/ready` tells more.
 */
@Controller('v1/models')
@TorchServeRoutes('management')
export class ModelReadinessController {
  constructor(private readonly registry: ModelRegistry) {}

  @Documented(READINESS)
  @Get(':model')
  ready(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendModelReadiness(this.registry, (request.params as { model: string }).model, reply);
  }
}
