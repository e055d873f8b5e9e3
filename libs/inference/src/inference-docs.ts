import type { RouteDocument } from './documented.js';
import {
  MODEL_PARAMETER,
  VERSION_PARAMETER,
  INTERNAL_ERROR,
  anyContent,
  errorContent,
  jsonContent,
  objectSchema,
  pathParameter,
  queryParameter,
  type ApiParameter,
} from './openapi.js';

const REST = pathParameter('path', 'What the handler gets as `url_path`.');

/** What bounds a request; every route that asks a model takes it. */
export const TIMEOUT: ApiParameter = {
  in: 'header',
  name: 'x-request-timeout-ms',
  description: 'Milliseconds within which the caller wants an answer.',
  required: false,
  schema: { type: 'integer' },
};

const FAILURES = {
  400: errorContent('The model cannot take this input; the text says what it expects.'),
  404: errorContent('There is no such model or version.'),
  413: errorContent('The body is too large.'),
  ...INTERNAL_ERROR,
  503: errorContent('No worker can take the request, or its handler failed.'),
  504: errorContent('There was no answer in time.'),
};

function asked(description: string, parameters: readonly ApiParameter[]): RouteDocument {
  return {
    description,
    parameters: [...parameters, TIMEOUT],
    requestBody: { ...anyContent('What the handler of the model takes.'), required: false },
    responses: { 200: anyContent('What the handler of the model answers.'), ...FAILURES },
  };
}

const DEFAULT = 'the default version of a model, or the one whose turn it is where its requests are split';

export const PREDICT = asked(`Asks ${DEFAULT}. Every HTTP method does.`, [MODEL_PARAMETER]);
export const PREDICT_VERSION = asked('Asks a version of a model.', [MODEL_PARAMETER, VERSION_PARAMETER]);
export const PREDICT_PATH = asked('Asks a version of a model, and tells its handler a path.', [
  MODEL_PARAMETER,
  VERSION_PARAMETER,
  REST,
]);
export const EXPLAIN = asked(`Has ${DEFAULT} explain its answer.`, [MODEL_PARAMETER]);
export const EXPLAIN_VERSION = asked('Has a version of a model explain its answer.', [
  MODEL_PARAMETER,
  VERSION_PARAMETER,
]);
export const EXPLAIN_PATH = asked('The same, and tells its handler a path.', [
  MODEL_PARAMETER,
  VERSION_PARAMETER,
  REST,
]);
export const INVOCATIONS = asked(
  'Asks the model that `model_name` names, here or in the body; else the only one of the start-up list.',
  [queryParameter('model_name', 'The name of the model.')],
);
export const INVOKE = asked(`Asks ${DEFAULT}, with parameters of the query before those of the body.`, [
  MODEL_PARAMETER,
]);
export const KSERVE_V1 = asked(`KServe's version 1: asks ${DEFAULT}, or has it explain its answer.`, [
  pathParameter('target', 'The name of the model with `:predict` or `:explain` behind it.'),
]);

export const PING: RouteDocument = {
  description: 'Whether no model has given up on its workers.',
  responses: {
    200: jsonContent('Healthy.', objectSchema({ status: { type: 'string' } }, ['status'])),
    500: jsonContent('Unhealthy.', objectSchema({ status: { type: 'string' } }, ['status'])),
  },
};
