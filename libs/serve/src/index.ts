/**
 * serve: the plugin, and the only library that an application imports.
 * MarlineModule puts the libraries of the data path together from one set of options and mounts their routes; models are
 * called with @InjectModel and @Infer; health/ and oip/ are doors: they format what the registry knows, and decide nothing else.
 * What stands here is the public API; all else may change.
 */
export { MarlineModule } from './marline.module.js';
export {
  MarlineOptions,
  type GuardReference,
  type MarlineModuleOptions,
  type MarlineModuleShape,
  type MarlineOptionsFactory,
} from './marline.options.js';
export { MarlineHealthIndicator, type ModelHealth } from './health/health.indicator.js';

export {
  Infer,
  Inferred,
  InjectModel,
  ModelRegistry,
  ServedModel,
  getModelToken,
  type Device,
  type InferOptions,
  type InferRequest,
  type Inference,
  type ModelOverrides,
  type ModelRuntime,
  type ModelSettings,
  type ModelStatus,
  type PredictOptions,
  type PredictionAnswer,
  type PredictionRequest,
  type Priority,
  type RegisterRequest,
  type RequestSchedule,
  type ScheduleRequest,
  type SequenceStep,
  type TrafficWeights,
  type VersionOverrides,
  type WorkerInfo,
} from '#libs/inference';
export {
  BaseHandler,
  ModelHandler,
  PredictionException,
  type DecodeImageOptions,
  type DecodedImage,
  type HandlerMetrics,
  type HandlerRequest,
  type ModelContext,
  type ModelHandlerOptions,
  type RequestValue,
  type RequestsContext,
  type SystemProperties,
} from '#libs/handler';
export {
  InferenceObserver,
  MarlineError,
  isMarlineError,
  tensor,
  type DType,
  type AnswerTimings,
  type ErrorCode,
  type ErrorDetails,
  type HandlerMetric,
  type HookTimings,
  type ModelRef,
  type RequestTimings,
  type RunTimings,
  type Tensor,
  type TensorData,
  type TensorMetadata,
  type Tensors,
} from '#libs/common';
