import { Module, type DynamicModule } from '@nestjs/common';
import { GrpcPredictor } from './grpc-predictor.js';
import { InferenceApisController } from './inference-apis.controller.js';
import { ManagementApisController } from './management-apis.controller.js';
import { OpenInferenceController } from './open-inference.controller.js';

/**
 * The gRPC services, beside `MarlineModule` and behind its guards. Nothing listens before a {@link GrpcServer} does.
 * @publicApi
 */
@Module({})
export class MarlineGrpcModule {
  /** @param management also the management service; needs `management: true` in the options of `MarlineModule` */
  static forRoot({ management = false }: { readonly management?: boolean } = {}): DynamicModule {
    return {
      module: MarlineGrpcModule,
      controllers: [
        InferenceApisController,
        OpenInferenceController,
        ...(management ? [ManagementApisController] : []),
      ],
      providers: [GrpcPredictor],
    };
  }
}
