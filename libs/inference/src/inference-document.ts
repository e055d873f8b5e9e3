import {
  INTERNAL_ERROR,
  anyContent,
  apiDocument,
  errorContent,
  jsonContent,
  objectSchema,
  pathParameter,
  type ApiDocument,
  type ApiParameter,
  type Operation,
  type Paths,
} from './openapi.js';

const MODEL = pathParameter('model_name', 'The name of the model.');
const VERSION = pathParameter('model_version', 'The version of the model.');

const STATUS = objectSchema(
  { status: { type: 'string', description: '"Healthy", or "Unhealthy" when workers of a model gave up.' } },
  ['status'],
);

function prediction(
  description: string,
  operationId: string,
  parameters: readonly ApiParameter[],
): Operation {
  return {
    description,
    operationId,
    parameters,
    requestBody: { ...anyContent('What the handler of the model takes.'), required: true },
    responses: {
      200: anyContent('What the handler of the model answers.'),
      404: errorContent('There is no such model or version.'),
      ...INTERNAL_ERROR,
      503: errorContent('No worker can take the request.'),
    },
  };
}

const ofDefault = prediction('Asks the default version of a model.', 'predictions', [MODEL]);

/** What TorchServe's inference port serves. */
export const INFERENCE_PATHS: Paths = {
  '/ping': {
    get: {
      description: 'Whether the server is healthy.',
      operationId: 'ping',
      parameters: [],
      responses: { 200: jsonContent('The server is healthy.', STATUS), ...INTERNAL_ERROR },
    },
  },
  '/v1/models/{model_name}:predict': { post: ofDefault },
  '/v2/models/{model_name}/infer': { post: ofDefault },
  '/predictions/{model_name}': { post: ofDefault },
  '/predictions/{model_name}/{model_version}': {
    post: prediction('Asks a version of a model.', 'version_predictions', [MODEL, VERSION]),
  },
};

/** How one model is asked; its first path lacks a letter, as in TorchServe. */
export function modelDocument(name: string): ApiDocument {
  const post: Operation = {
    description: `Asks the model ${name}.`,
    operationId: name,
    parameters: [],
    responses: { 200: { description: 'What its handler answers.' }, ...INTERNAL_ERROR },
  };
  return apiDocument(
    { title: `RESTful API for: ${name}`, version: '1.0.0' },
    {
      [`/prediction/${name}`]: { post },
      '/v1/models/{model_name}:predict': { post },
      '/v2/models/{model_name}/infer': { post },
    },
  );
}
