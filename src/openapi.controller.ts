import { Controller, Get, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Undocumented, planesOf, sendError, sendNativeJson } from '#libs/inference';
import { toMarlineError } from '#libs/common';
import { OpenApiDocument } from './openapi-document.js';

/** Marline's own description of what the port of the request serves, for everybody; TorchServe's stand at their own routes. */
@Controller()
export class OpenApiController {
  constructor(private readonly document: OpenApiDocument) {}

  @Undocumented()
  @Get('openapi.json')
  async read(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    try {
      sendNativeJson(reply, 200, await this.document.of(planesOf(request)));
    } catch (error) {
      sendError(reply, toMarlineError(error));
    }
  }
}
