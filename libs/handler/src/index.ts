/**
 * handler: bytes become tensors, tensors become an answer.
 * Handlers of the host application are found among its providers; built-in ones and those of an archive run in the
 * worker. handler-runner.ts takes a batch through the hooks, on either side; worker.ts is what workers and archives
 * import, without Nest.
 */
export { BaseHandler, type HandlerRequest, type RequestValue } from './base-handler.js';
export { PredictionException } from './handler-errors.js';
export { ModelHandler, type ModelHandlerOptions } from './model-handler.js';
export type {
  DecodeImageOptions,
  DecodedImage,
  HandlerMetrics,
  ModelContext,
  RequestsContext,
  SystemProperties,
} from './context.js';
export type { HandlerSetup, ModelBinding } from './handler-context.js';
export { HandlerRunner } from './handler-runner.js';
export { encodeOutput } from './output-encoding.js';
export { DATATYPES } from './datatypes.js';
export { encodeTensors } from './tensor-json.js';
export { HandlerRegistry, type HandlerPlan, type WorkerHandlerRef } from './handler-registry.js';
export { HandlerModule } from './handler.module.js';
