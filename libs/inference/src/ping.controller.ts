import { All, Controller, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { ModelRegistry } from './model-registry.js';
import { sendJson } from './response-head.js';
import { TorchServeRoutes } from './torchserve-routes.js';

/** TorchServe's health check, for every HTTP method and whatever stands behind `/ping`. */
@Controller()
@TorchServeRoutes('inference')
export class PingController {
  constructor(private readonly registry: ModelRegistry) {}

  /**
   * 200 `Healthy` unless the default version of some model has given up on its workers: then 500 `Unhealthy`.
   * Models without workers, and workers that are starting or starting again, are healthy.
   */
  @All(['ping', 'ping/*'])
  ping(@Res() reply: FastifyReply): void {
    const failed = this.registry.names().some((name) => this.registry.get(name).status().status === 'failed');
    sendJson(reply, failed ? 500 : 200, { status: failed ? 'Unhealthy' : 'Healthy' });
  }
}
