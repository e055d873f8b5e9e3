import { All, Controller, Options, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { INFERENCE_PATHS, planesOf, sendJson, serverDocument } from '#libs/inference';
import { MANAGEMENT_PATHS } from '#libs/management';

/** TorchServe's description of what the port of the request serves, for everybody. */
@Controller()
export class ApiDescriptionController {
  @Options()
  root(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    this.description(request, reply);
  }

  @All('api-description')
  description(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const planes = planesOf(request);
    const document = serverDocument({
      ...(planes.includes('inference') && INFERENCE_PATHS),
      ...(planes.includes('management') && MANAGEMENT_PATHS),
    });
    sendJson(reply, 200, document);
  }
}
