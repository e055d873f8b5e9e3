import { All, Controller, Options, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  INFERENCE_PATHS,
  metricsDocument,
  planesOf,
  Undocumented,
  sendJson,
  serverDocument,
  type ApiDocument,
  type PlaneName,
} from '#libs/inference';
import { MANAGEMENT_PATHS } from '#libs/management';

/** TorchServe's description of what the port of the request serves, for everybody. */
@Controller()
export class ApiDescriptionController {
  @Undocumented()
  @Options()
  root(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    this.description(request, reply);
  }

  @Undocumented()
  @All('api-description')
  description(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    sendJson(reply, 200, documentOf(planesOf(request)));
  }
}

function documentOf(planes: readonly PlaneName[]): ApiDocument {
  const paths = {
    ...(planes.includes('inference') && INFERENCE_PATHS),
    ...(planes.includes('management') && MANAGEMENT_PATHS),
  };
  return Object.keys(paths).length === 0 ? metricsDocument() : serverDocument(paths);
}
