import { All, Controller, Options, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Plane, sendJson } from '#libs/inference';
import { MANAGEMENT_DOCUMENT } from './management-document.js';

/** TorchServe's description of its management port, for everybody. Only the standalone server has it. */
@Controller()
@Plane('management')
export class ManagementDocumentController {
  @Options()
  root(@Res() reply: FastifyReply): void {
    sendJson(reply, 200, MANAGEMENT_DOCUMENT);
  }

  @All('api-description')
  description(@Res() reply: FastifyReply): void {
    sendJson(reply, 200, MANAGEMENT_DOCUMENT);
  }
}
