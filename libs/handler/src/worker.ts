/**
 * marline/handler: what a handler is written with. Free of Nest and of the image decoder, so that a worker thread loads
 * it in milliseconds. Archives import it by this name; worker threads of ours take the runner from here.
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
export {
  MarlineError,
  tensor,
  type DType,
  type Tensor,
  type TensorData,
  type TensorMetadata,
  type Tensors,
} from '#libs/common';
export type { TensorJson } from './tensor-json.js';
export type { TensorResponse } from './tensor-request.js';

export type { HandlerItem, HandlerSetup, ModelBinding } from './handler-context.js';
export { HandlerRunner, type HandlerRunnerOptions } from './handler-runner.js';
export { encodeOutput } from './output-encoding.js';
export { BUILTIN_HANDLERS, createBuiltinHandler } from './builtin-handlers.js';
export { loadHandlerModule } from './handler-loader.js';
