import { All, Controller, Get, Post, Req, Res, UseFilters, UseGuards } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  AccessGuard,
  ModelRegistry,
  PROTOCOL_SERVER,
  Plane,
  PredictionResponder,
  RawBody,
  RawTarget,
  protocolMetadata,
  sendJson,
  sendNativeJson,
  type PredictionTarget,
} from '#libs/inference';
import { MarlineHealthIndicator } from '../health/health.indicator.js';
import { OipExceptionFilter, expectTorchServeErrors } from './oip.filter.js';
import { protocolInput } from './protocol-input.js';

interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

/** TorchServe's service envelope for this protocol. */
const ENVELOPE = 'kservev2';

/**
 * The open inference protocol (v2): infer with tensors as JSON or as bytes, and what a client asks before. The tensors go to
 * the model itself, whatever its handler. Bodies are not looked at here: a worker reads them.
 */
@Controller('v2')
@Plane('inference')
@UseGuards(AccessGuard)
@UseFilters(OipExceptionFilter)
export class OipController {
  constructor(
    private readonly registry: ModelRegistry,
    private readonly responder: PredictionResponder,
    private readonly health: MarlineHealthIndicator,
  ) {}

  /**
   * Answers with the tensors that the model makes of those in the body. A Python handler with TorchServe's envelope for this protocol gets
   * the body from that envelope instead.
   */
  @Post(['models/:model/infer', 'models/:model/versions/:version/infer'])
  @RawBody()
  async infer(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    const runtime = this.registry.route(model, version, request.raw.rawHeaders);
    const hasEnvelope = runtime.settings.envelope === ENVELOPE;
    if (hasEnvelope) expectTorchServeErrors(request);
    const target: PredictionTarget = hasEnvelope
      ? new RawTarget(model, version, { explain: false })
      : { model, version, native: true, input: protocolInput };
    await this.responder.respond(target, request, reply, runtime);
  }

  /** What this server is and what of the protocol's extensions it has. */
  @Get()
  server(@Res() reply: FastifyReply): void {
    sendNativeJson(reply, 200, PROTOCOL_SERVER);
  }

  /** 200 as long as the process answers. */
  @Get('health/live')
  live(@Res() reply: FastifyReply): void {
    sendNativeJson(reply, 200, { live: true });
  }

  /** 200 when every model that counts is ready and the application is not stopping, else 503; for every method, as in TorchServe. */
  @All('health/ready')
  ready(@Res() reply: FastifyReply): void {
    const ready = this.health.ready().marline.status === 'up';
    sendJson(reply, ready ? 200 : 503, { ready });
  }

  /** Versions, inputs and outputs of a model. */
  @Get(['models/:model', 'models/:model/versions/:version'])
  describe(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version } = request.params as ModelPath;
    const runtime = this.registry.get(model, version);
    const versions = this.registry.versions(model).map((each) => each.version);
    sendNativeJson(reply, 200, protocolMetadata(runtime, versions));
  }

  /** 200 when a worker of the model can take a request, else 503. */
  @Get(['models/:model/ready', 'models/:model/versions/:version/ready'])
  modelReady(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version } = request.params as ModelPath;
    const ready = !this.registry.shuttingDown && this.registry.get(model, version).status().readyWorkers > 0;
    sendNativeJson(reply, ready ? 200 : 503, { name: model, ready });
  }
}
