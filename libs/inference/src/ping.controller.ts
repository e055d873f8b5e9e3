import { All, Controller, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { DocumentedAs, Undocumented } from './documented.js';
import { PING } from './inference-docs.js';
import { ModelRegistry } from './model-registry.js';
import { sendJson } from './response-head.js';
import { TorchServeRoutes } from './torchserve-routes.js';

/** TorchServe's health check, for every HTTP method and whatever stands behind `/ping`. */
@Controller()
@TorchServeRoutes('inference')
export class PingController {
  constructor(private readonly registry: ModelRegistry) {}

  /** 200 `Healthy`, or 500 `Unhealthy`; see {@link ModelRegistry.healthy}. */
  @DocumentedAs('get', PING)
  @All('ping')
  ping(@Res() reply: FastifyReply): void {
    const { healthy } = this.registry;
    sendJson(reply, healthy ? 200 : 500, { status: healthy ? 'Healthy' : 'Unhealthy' });
  }

  /** The same, whatever stands behind it. */
  @Undocumented()
  @All('ping/*')
  pingPath(@Res() reply: FastifyReply): void {
    this.ping(reply);
  }
}
