import { Module } from '@nestjs/common';
import { HandlerModule } from '#libs/handler';
import { DevicePlacer, detectDevices } from './devices.js';
import { ConfigurableModuleClass, INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
import { InvocationsController } from './invocations.controller.js';
import { KServeController } from './kserve.controller.js';
import { ModelRegistry } from './model-registry.js';
import { PingController } from './ping.controller.js';
import { PredictionResponder } from './prediction-responder.js';
import { PredictionsController } from './predictions.controller.js';
import { WorkerProvider } from './workers.js';

/**
 * The registry of models and TorchServe's inference routes.
 * Needs a `ModelStore`: import ArchiveModule through the `imports` of `registerAsync`.
 */
@Module({
  imports: [HandlerModule],
  controllers: [PredictionsController, InvocationsController, KServeController, PingController],
  providers: [
    ModelRegistry,
    PredictionResponder,
    WorkerProvider,
    {
      provide: DevicePlacer,
      useFactory: async ({ devices }: InferenceOptions) =>
        new DevicePlacer(devices ?? (await detectDevices())),
      inject: [INFERENCE_OPTIONS],
    },
  ],
  exports: [ModelRegistry, PredictionResponder],
})
export class InferenceModule extends ConfigurableModuleClass {}
