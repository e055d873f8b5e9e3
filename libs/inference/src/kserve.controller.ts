import { All, Controller, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
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
  constructor(private readonly responder: PredictionResponder) {}

  /** KServe's version 1: `{model}:predict` and `{model}:explain`. */
  @All('v1/models/:target')
  @RawBody()
  async v1(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { target } = request.params as { target: string };
    const verb = /:(predict|explain)/.exec(target)?.[1];
    if (verb === undefined) throw new MarlineError('RESOURCE_NOT_FOUND');
    const model = target.slice(0, target.indexOf(':'));
    const explain = verb === 'explain';
    await this.responder.respond(new RawTarget(model, undefined, { explain }), request, reply);
  }

  /** The explanation that version 2 has no words for. */
  @All('v2/models/:model/explain')
  @RawBody()
  explain(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model } = request.params as { model: string };
    return this.responder.respond(new RawTarget(model, undefined, { explain: true }), request, reply);
  }
}
