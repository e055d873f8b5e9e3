import { All, Controller, Options, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { INFERENCE_DOCUMENT } from './inference-document.js';
import { Plane } from './plane.js';
import { sendJson } from './response-head.js';

/** TorchServe's description of its inference port, for everybody. Only the standalone server has it: a host describes its routes itself. */
@Controller()
@Plane('inference')
export class InferenceDocumentController {
  @Options()
  root(@Res() reply: FastifyReply): void {
    sendJson(reply, 200, INFERENCE_DOCUMENT);
  }

  @All('api-description')
  description(@Res() reply: FastifyReply): void {
    sendJson(reply, 200, INFERENCE_DOCUMENT);
  }
}
