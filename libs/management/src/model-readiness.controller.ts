import { Controller, Get, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ModelRegistry, TorchServeRoutes, sendJson } from '#libs/inference';

/**
 * KServe's question whether a model is ready, which TorchServe answers on its management port. Only the standalone server has it:
 * on one port with the predictions it would be in their way, and there `/v2/models/{model}/ready` tells more.
 */
@Controller('v1/models')
@TorchServeRoutes('management')
export class ModelReadinessController {
  constructor(private readonly registry: ModelRegistry) {}

  /** A model is ready as soon as it has a worker, in whatever state. */
  @Get(':model')
  ready(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const [name = ''] = (request.params as { model: string }).model.split(':');
    sendJson(reply, 200, { name, ready: this.registry.get(name).workers().length > 0 });
  }
}
