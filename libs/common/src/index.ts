/**
 * common: the words that all libraries share: errors, tensors, batches, the observer, the clock.
 * No Nest, no I/O, no state: everything here may be loaded in a worker thread.
 * errors.ts holds the one table of codes with their HTTP, gRPC and TorchServe names.
 */
export {
  MarlineError,
  decodeError,
  encodeError,
  isMarlineError,
  messageOf,
  toMarlineError,
  type EncodedError,
  type ErrorCode,
  type ErrorDetails,
  type GrpcStatus,
} from './errors.js';
export {
  MAX_ELEMENTS,
  arrayTypeOf,
  elementCount,
  isDType,
  isTensors,
  tensor,
  type DType,
  type Tensor,
  type TensorData,
  type TensorMetadata,
  type Tensors,
} from './tensor.js';
export type {
  BatchItem,
  BatchSink,
  Header,
  HeaderText,
  ItemOutput,
  ItemResult,
  Parameter,
  ProtocolInput,
  RawInput,
  TensorInput,
  ValueInput,
  WorkerInput,
} from './batch.js';
export {
  InferenceObserver,
  type AnswerTimings,
  type HandlerMetric,
  type HookTimings,
  type ModelRef,
  type RequestTimings,
  type RunTimings,
} from './observer.js';
export { ForwardingObserver } from './forwarding-observer.js';
export { ManualClock, systemClock, type Clock } from './clock.js';
export { VERSION } from './version.js';
