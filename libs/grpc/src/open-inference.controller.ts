import type { ServerUnaryCall } from '@grpc/grpc-js';
import { Controller } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { MarlineError } from '#libs/common';
import { ModelRegistry, PROTOCOL_SERVER, protocolAsksHandler, protocolMetadata } from '#libs/inference';
import { MarlineHealthIndicator } from '#libs/serve';
import { GrpcPredictor } from './grpc-predictor.js';
import { GrpcRoutes } from './grpc-routes.js';
import { handlerInput, readHandlerAnswer } from './handler-infer.js';
import { modelInput, readModelAnswer } from './model-infer.js';
import type { ModelInferRequest, ModelInferResponse } from './model-infer-messages.js';

interface ModelRequest {
  readonly name: string;
  readonly version: string;
}

/** The name without a package: the service is the same in that of TorchServe and in that of the protocol. */
const SERVICE = 'GRPCInferenceService';

/**
 * The open inference protocol (v2). Tensors go to the model itself, whatever its handler; a Python handler, and one in
 * TorchServe's envelope for this protocol, gets them as JSON, in TorchServe's way.
 */
@Controller()
@GrpcRoutes('inference')
export class OpenInferenceController {
  constructor(
    private readonly registry: ModelRegistry,
    private readonly health: MarlineHealthIndicator,
    private readonly predictor: GrpcPredictor,
  ) {}

  /** True as long as the process answers. */
  @GrpcMethod(SERVICE, 'ServerLive')
  serverLive() {
    return { live: true };
  }

  /** True when every model that counts is ready and the application is not stopping. */
  @GrpcMethod(SERVICE, 'ServerReady')
  serverReady() {
    return { ready: this.health.ready().marline.status === 'up' };
  }

  /** True when a worker of the model can take a request. */
  @GrpcMethod(SERVICE, 'ModelReady')
  modelReady({ name: model, version }: ModelRequest) {
    const runtime = this.predictor.runtime({ model, version }, 'name');
    return { ready: !this.registry.shuttingDown && runtime.status().readyWorkers > 0 };
  }

  /** What this server is and what of the protocol's extensions it has. */
  @GrpcMethod(SERVICE, 'ServerMetadata')
  serverMetadata() {
    return PROTOCOL_SERVER;
  }

  /** Versions, inputs and outputs of a model. */
  @GrpcMethod(SERVICE, 'ModelMetadata')
  modelMetadata({ name: model, version }: ModelRequest) {
    const runtime = this.predictor.runtime({ model, version }, 'name');
    const versions = this.registry.versions(model).map((each) => each.version);
    return protocolMetadata(runtime, versions);
  }

  /** Answers with the tensors that the model makes of those in the request. */
  @GrpcMethod(SERVICE, 'ModelInfer')
  async modelInfer(
    request: ModelInferRequest,
    _metadata: unknown,
    call: ServerUnaryCall<ModelInferRequest, ModelInferResponse>,
  ): Promise<ModelInferResponse> {
    const target = { model: request.model_name, version: request.model_version };
    const runtime = this.predictor.route(target, 'model_name');
    const asksHandler = protocolAsksHandler(runtime);
    const input = asksHandler ? handlerInput(request) : modelInput(request);
    const answer = await this.predictor.predict(target, runtime, input, call);
    if (answer.streaming)
      throw new MarlineError(
        'INVALID_OUTPUT',
        {},
        { cause: new Error('The handler streams, and the protocol has one answer.') },
      );
    return asksHandler ? readHandlerAnswer(answer.result, request) : readModelAnswer(answer.result, request);
  }
}
