/**
 * inference: requests become batches, batches become runs.
 * ModelRegistry (name → versions → default) is what every door talks to; ModelRuntime is one loaded version:
 * its handler, its queue and its pool of workers.
 */
export type { PredictionAnswer, PredictionRequest } from './prediction.js';
export type { ModelSettings, RegisterRequest } from './model-settings.js';
export { InferenceModule } from './inference.module.js';
export { INFERENCE_OPTIONS, type InferenceOptions } from './inference.options.js';
export { ModelRegistry } from './model-registry.js';
export { ModelRuntime, type ModelStatus, type WorkerInfo } from './model-runtime.js';
export { detectDevices, type Device } from './devices.js';
