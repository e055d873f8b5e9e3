import { Module, type DynamicModule } from '@nestjs/common';
import type { InferenceObserver } from '#libs/common';
import { LegacyPredictionsController, type Device } from '#libs/inference';
import { ModelReadinessController } from '#libs/management';
import { MarlineModule } from '#libs/serve';
import { ApiDescriptionController } from './api-description.controller.js';
import type { ServerConfiguration } from './configuration.js';
import { OpenApiController } from './openapi.controller.js';
import { OpenApiDocument } from './openapi-document.js';
import { TokenController } from './tokens/token.controller.js';
import { TokenGuard } from './tokens/token.guard.js';
import { TokenKeys } from './tokens/token-keys.js';

/** The root module of the standalone server, with the routes that would be in the way of a host's. */
@Module({
  controllers: [
    LegacyPredictionsController,
    ApiDescriptionController,
    ModelReadinessController,
    OpenApiController,
  ],
  providers: [OpenApiDocument],
})
class StandaloneModule {}

/**
 * MarlineModule, with the management routes that have a port of their own here, and what else has one.
 * @param doors such as the gRPC services
 * @param keys what every request must have one of; nobody is asked without
 * @param observer told what happens; nobody is without
 */
export function standaloneModule(
  configuration: ServerConfiguration,
  devices: readonly Device[],
  doors: readonly DynamicModule[],
  keys: TokenKeys | undefined,
  observer: InferenceObserver | undefined,
): DynamicModule {
  const tokens = keys && {
    controllers: [TokenController],
    providers: [{ provide: TokenKeys, useValue: keys }],
  };
  const marline = marlineModule(configuration, devices, keys, observer);
  return { module: StandaloneModule, imports: [marline, ...doors], ...tokens };
}

function marlineModule(
  configuration: ServerConfiguration,
  devices: readonly Device[],
  keys: TokenKeys | undefined,
  observer: InferenceObserver | undefined,
): DynamicModule {
  return MarlineModule.forRoot({
    management: true,
    metrics: configuration.enableMetricsApi,
    devices,
    ...(observer && { observer }),
    guards: keys === undefined ? [] : [new TokenGuard(keys)],
    modelStore: configuration.modelStore,
    loadModels: configuration.restored === undefined ? configuration.loadModels : [],
    allowedUrls: configuration.allowedUrls,
    models: configuration.models,
    cacheDir: configuration.cacheDir,
    defaultWorkersPerModel: configuration.defaultWorkersPerModel,
    jobQueueSize: configuration.jobQueueSize,
    defaultResponseTimeout: configuration.defaultResponseTimeout,
    defaultStartupTimeout: configuration.defaultStartupTimeout,
    maxRequestSize: configuration.maxRequestSize,
    maxImagePixels: configuration.maxImagePixels,
    intraOpThreads: configuration.intraOpThreads,
    shareWeightsAboveBytes: configuration.shareWeightsAboveBytes,
    memoryBudgetMb: configuration.memoryBudgetMb,
    python: configuration.python,
    pythonEnv: configuration.pythonEnv,
    blacklistEnvVars: configuration.blacklistEnvVars,
    installPyDepPerModel: configuration.installPyDepPerModel,
    limitMaxImagePixels: configuration.limitMaxImagePixels,
    pythonSocket: configuration.nativeSockets ? 'unix' : 'tcp',
    maxResponseSize: configuration.maxResponseSize,
    decodeInputRequest: configuration.decodeInputRequest,
    serviceEnvelope: configuration.serviceEnvelope,
    sequenceIdHeader: configuration.sequenceIdHeader,
    sequenceStartHeader: configuration.sequenceStartHeader,
    sequenceEndHeader: configuration.sequenceEndHeader,
    drainTimeoutMs: configuration.drainTimeoutMs,
    enableModelApi: configuration.enableModelApi,
    metricsMode: configuration.metricsMode,
    metricsConfig: configuration.metricsConfig,
    modelMetricsAutoDetect: configuration.modelMetricsAutoDetect,
    disableSystemMetrics: configuration.disableSystemMetrics,
    metricTimeInterval: configuration.metricTimeInterval,
  });
}
