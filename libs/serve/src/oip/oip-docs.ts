import {
  MODEL_PARAMETER,
  VERSION_PARAMETER,
  anyContent,
  jsonContent,
  objectSchema,
  type ApiParameter,
  type RouteDocument,
} from '#libs/inference';

const VERSIONED = [MODEL_PARAMETER, VERSION_PARAMETER];

const error = (description: string) =>
  jsonContent(description, objectSchema({ error: { type: 'string' } }, ['error']));
const NOT_FOUND = { 404: error('There is no such model or version.') };

const TENSOR = objectSchema(
  {
    name: { type: 'string' },
    shape: { type: 'array', items: { type: 'integer' } },
    datatype: { type: 'string', description: 'Such as FP32, INT64 or BYTES.' },
    parameters: { type: 'object', description: '`binary_data_size` where the data stand behind the JSON.' },
    data: { type: 'array', items: {}, description: 'The elements, flat or nested.' },
  },
  ['name', 'shape', 'datatype'],
);
const TENSORS = { type: 'array', items: TENSOR };
const TENSOR_METADATA = {
  type: 'array',
  items: objectSchema(
    {
      name: { type: 'string' },
      datatype: { type: 'string' },
      shape: { type: 'array', items: { type: 'integer' }, description: '-1 is a dimension of any length.' },
    },
    ['name', 'datatype', 'shape'],
  ),
};
const JSON_LENGTH: ApiParameter = {
  in: 'header',
  name: 'Inference-Header-Content-Length',
  description: 'The length of the JSON in bytes, where binary tensors stand behind it.',
  required: false,
  schema: { type: 'integer' },
};

function infer(description: string, path: readonly ApiParameter[]): RouteDocument {
  const request = objectSchema({ id: { type: 'string' }, inputs: TENSORS, outputs: TENSORS }, ['inputs']);
  const answer = objectSchema(
    {
      id: { type: 'string' },
      model_name: { type: 'string' },
      model_version: { type: 'string' },
      outputs: TENSORS,
    },
    ['model_name', 'outputs'],
  );
  return {
    description,
    parameters: [...path, JSON_LENGTH],
    requestBody: {
      description: 'The tensors that the model takes.',
      required: true,
      content: {
        ...jsonContent('', request).content,
        ...anyContent('').content,
      },
    },
    responses: {
      200: jsonContent('The tensors that it makes of them.', answer),
      400: error('The tensors are none that the model takes.'),
      ...NOT_FOUND,
      429: error('Too much is asked at this moment; `Retry-After` says when to come back.'),
      500: error('The model failed.'),
      503: error('No worker can take the request.'),
      504: error('There was no answer in time.'),
    },
  };
}

function describe(description: string, parameters: readonly ApiParameter[]): RouteDocument {
  const metadata = objectSchema(
    {
      name: { type: 'string' },
      versions: { type: 'array', items: { type: 'string' } },
      platform: { type: 'string' },
      inputs: TENSOR_METADATA,
      outputs: TENSOR_METADATA,
    },
    ['name', 'inputs', 'outputs'],
  );
  return { description, parameters, responses: { 200: jsonContent('What it is.', metadata), ...NOT_FOUND } };
}

function ready(description: string, parameters: readonly ApiParameter[]): RouteDocument {
  const state = objectSchema({ name: { type: 'string' }, ready: { type: 'boolean' } }, ['name', 'ready']);
  return {
    description,
    parameters,
    responses: { 200: jsonContent('It is.', state), ...NOT_FOUND, 503: jsonContent('It is not.', state) },
  };
}

export const INFER = infer('Tensors in, tensors out, by the version that answers when none is named.', [
  MODEL_PARAMETER,
]);
export const INFER_VERSION = infer('Tensors in, tensors out, by a version.', VERSIONED);
export const DESCRIBE = describe('The inputs and outputs of a model.', [MODEL_PARAMETER]);
export const DESCRIBE_VERSION = describe('The inputs and outputs of a version.', VERSIONED);
export const READY = ready('Whether a worker of the default version can take a request.', [MODEL_PARAMETER]);
export const READY_VERSION = ready('Whether a worker of a version can take a request.', VERSIONED);

export const SERVER: RouteDocument = {
  description: 'What this server is, and what of the extensions of the protocol it has.',
  responses: {
    200: jsonContent(
      'The server.',
      objectSchema(
        {
          name: { type: 'string' },
          version: { type: 'string' },
          extensions: { type: 'array', items: { type: 'string' } },
        },
        ['name', 'version', 'extensions'],
      ),
    ),
  },
};
export const SERVER_LIVE: RouteDocument = {
  description: 'Whether the process answers.',
  responses: { 200: jsonContent('It does.', objectSchema({ live: { type: 'boolean' } }, ['live'])) },
};
const SERVER_STATE = objectSchema({ ready: { type: 'boolean' } }, ['ready']);
export const SERVER_READY: RouteDocument = {
  description: 'Whether every model that counts is ready and the application is not stopping.',
  responses: { 200: jsonContent('It is.', SERVER_STATE), 503: jsonContent('It is not.', SERVER_STATE) },
};
