import { All, Controller, Get, Post, Req, Res, UseFilters, UseGuards } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MarlineError } from '#libs/common';
import {
  AccessGuard,
  Documented,
  DocumentedAs,
  ModelRegistry,
  PROTOCOL_ENVELOPE,
  PROTOCOL_SERVER,
  Plane,
  PredictionResponder,
  RawBody,
  RawTarget,
  protocolAsksHandler,
  protocolMetadata,
  sendJson,
  sendNativeJson,
  type PredictionTarget,
} from '#libs/inference';
import { MarlineHealthIndicator } from '../health/health.indicator.js';
import * as docs from './oip-docs.js';
import { OipExceptionFilter, expectTorchServeErrors } from './oip.filter.js';
import { protocolInput } from './protocol-input.js';

interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

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
   * Answers with the tensors that the model makes of those in the body. A handler without one that could be given tensors, as in Python,
   * gets the body instead, and a handler in TorchServe's envelope for this protocol what is in it, both by whatever method they are asked.
   */
  @DocumentedAs('post', docs.INFER)
  @All('models/:model/infer')
  @RawBody()
  async infer(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { model, version } = request.params as ModelPath;
    // Where handlers are behind the envelope unless they say otherwise, a model that is not there counts as one of them.
    expectTorchServeErrors(request, this.registry.serviceEnvelope === PROTOCOL_ENVELOPE);
    const runtime = this.registry.route(model, version, request.raw.rawHeaders);
    const asksHandler = protocolAsksHandler(runtime);
    expectTorchServeErrors(request, asksHandler);
    if (!asksHandler && request.method !== 'POST') throw new MarlineError('METHOD_NOT_ALLOWED');
    const target: PredictionTarget = asksHandler
      ? new RawTarget(model, version, { explain: false })
      : { model, version, native: true, input: protocolInput };
    await this.responder.respond(target, request, reply, runtime);
  }

  /** The same of the version in the path. */
  @Documented(docs.INFER_VERSION)
  @Post('models/:model/versions/:version/infer')
  @RawBody()
  inferVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    return this.infer(request, reply);
  }

  /** What this server is and what of the protocol's extensions it has. */
  @Documented(docs.SERVER)
  @Get()
  server(@Res() reply: FastifyReply): void {
    sendNativeJson(reply, 200, PROTOCOL_SERVER);
  }

  /** 200 as long as the process answers. */
  @Documented(docs.SERVER_LIVE)
  @Get('health/live')
  live(@Res() reply: FastifyReply): void {
    sendNativeJson(reply, 200, { live: true });
  }

  /** 200 when every model that counts is ready and the application is not stopping, else 503; for every method, as in TorchServe. */
  @DocumentedAs('get', docs.SERVER_READY)
  @All('health/ready')
  ready(@Res() reply: FastifyReply): void {
    const ready = this.health.ready().marline.status === 'up';
    sendJson(reply, ready ? 200 : 503, { ready });
  }

  /** Versions, inputs and outputs of a model. */
  @Documented(docs.DESCRIBE)
  @Get('models/:model')
  describe(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version } = request.params as ModelPath;
    const runtime = this.registry.get(model, version);
    const versions = this.registry.versions(model).map((each) => each.version);
    sendNativeJson(reply, 200, protocolMetadata(runtime, versions));
  }

  /** The same of the version in the path. */
  @Documented(docs.DESCRIBE_VERSION)
  @Get('models/:model/versions/:version')
  describeVersion(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    this.describe(request, reply);
  }

  /** 200 when a worker of the model can take a request, else 503. */
  @Documented(docs.READY)
  @Get('models/:model/ready')
  modelReady(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    const { model, version } = request.params as ModelPath;
    const ready = !this.registry.shuttingDown && this.registry.get(model, version).status().readyWorkers > 0;
    sendNativeJson(reply, ready ? 200 : 503, { name: model, ready });
  }

  /** The same of the version in the path. */
  @Documented(docs.READY_VERSION)
  @Get('models/:model/versions/:version/ready')
  versionReady(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    this.modelReady(request, reply);
  }
}
