/**
 * inference: requests become batches, batches become runs.
 * ModelRegistry (name → versions → default) is what every door talks to; ModelRuntime is one loaded version:
 * its handler, its queue and its pool of workers.
 */
export type { PredictionAnswer, PredictionRequest, Priority } from './prediction.js';
export type { RequestSchedule, ScheduleRequest } from './request-bounds.js';
export type { ModelSettings, RegisterRequest } from './model-settings.js';
export { InferenceModule } from './inference.module.js';
export { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
export type { ModelOverrides, VersionOverrides } from './version-overrides.js';
export { ModelRegistry } from './model-registry.js';
export { ModelRuntime, type ModelStatus, type WorkerInfo } from './model-runtime.js';
export { detectDevices, deviceName, type Device } from './devices.js';
export { defaultMemoryBudgetMb } from './memory-budget.js';
export { sampleInputs } from './sample-inputs.js';
export { ServedModel, type PredictOptions } from './served-model.js';
export { isWeight, weightsProblem, type TrafficWeights } from './traffic-split.js';
export type { SequenceHeaders, SequenceStep } from './sequence-headers.js';
export { InjectModel, getModelToken } from './inject-model.js';
export { Infer, Inferred } from './infer.js';
export type { InferOptions, InferRequest, Inference } from './batching.interceptor.js';
export { Documented, DocumentedAs, Undocumented, type RouteDocument } from './documented.js';
export { TorchServeRoutes } from './torchserve-routes.js';
export { AccessGuard, getAccessGuardsToken } from './access.guard.js';
export { LegacyPredictionsController } from './legacy-predictions.controller.js';
export { INFERENCE_PATHS } from './inference-document.js';
export {
  PredictionResponder,
  VERSION_HEADER,
  withAskedVersion,
  type PredictionTarget,
} from './prediction-responder.js';
export { bodyOf } from './send-answer.js';
export {
  PROTOCOL_ENVELOPE,
  PROTOCOL_SERVER,
  protocolAsksHandler,
  protocolMetadata,
} from './protocol-metadata.js';
export { TorchServeExceptionFilter, sendError } from './exception.filter.js';
export { sendModelReadiness } from './model-readiness.js';
export { Plane, LISTENER, planeTag, planesOf, servePlanes, usePlanes, type PlaneName } from './plane.js';
export { RawTarget } from './raw-target.js';
export { assertEscapes } from './percent-escapes.js';
export { RawBody, installRawBody, readRawBody } from './raw-body.js';
export { planeOf } from './route-marks.js';
export { sendBody, sendJson, sendNativeJson, tellAnswers } from './response-head.js';
export { followRequests, requestIdOf } from './request-id.js';
export { torchServeServerOptions, useTorchServeErrors } from './torchserve-server.js';
export {
  INTERFACE_VERSION,
  INTERNAL_ERROR,
  MODEL_PARAMETER,
  VERSION_PARAMETER,
  anyContent,
  apiDocument,
  errorContent,
  jsonContent,
  metricsDocument,
  objectSchema,
  pathParameter,
  queryParameter,
  serverDocument,
  type ApiDocument,
  type ApiParameter,
  type Operation,
  type Paths,
} from './openapi.js';
