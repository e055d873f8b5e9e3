/**
 * inference: requests become batches, batches become runs.
 * ModelRegistry (name → versions → default) is what every door talks to; ModelRuntime is one loaded version:
 * its handler, its batcher and its pool of workers.
 */
export type { PredictionAnswer, PredictionRequest } from './prediction.js';
export type { ModelSettings, RegisterRequest } from './model-settings.js';
