/**
 * handler: bytes become tensors, tensors become an answer.
 * Handlers of the host application are found among its providers; built-in ones and those of an archive run in the worker.
 */
export { BaseHandler, type HandlerRequest, type RequestValue } from './base-handler.js';
export type {
  DecodeImageOptions,
  DecodedImage,
  HandlerMetrics,
  ModelContext,
  RequestsContext,
  SystemProperties,
} from './context.js';
