import {
  INTERFACE_VERSION,
  INTERNAL_ERROR,
  apiDocument,
  errorContent,
  jsonContent,
  pathParameter,
  queryParameter,
  type ApiDocument,
  type ApiParameter,
  type Operation,
  type Paths,
} from '#libs/inference';
import { MODELS_SCHEMA, MODEL_SCHEMA, STATUS_SCHEMA } from './management-schemas.js';

const MODEL = pathParameter('model_name', 'The name of the model.');
const VERSION = pathParameter('model_version', 'The version of the model.');

const text = (name: string, description: string) => queryParameter(name, description);
const integer = (name: string, description: string, byDefault: number) =>
  queryParameter(name, description, { type: 'integer', default: String(byDefault) });
const flag = (name: string, description: string) =>
  queryParameter(name, description, { type: 'boolean', default: 'false' });

const SYNCHRONOUS = flag('synchronous', 'Answers when it is done.');
const IGNORED_TIMEOUT = integer('timeout', 'Has no effect, as in TorchServe.', -1);

const done = (description: string) => ({ 200: jsonContent(description, STATUS_SCHEMA) });
const inProgress = {
  202: jsonContent('It goes on in the background.', STATUS_SCHEMA),
  210: jsonContent('Never answered; TorchServe lists it.', STATUS_SCHEMA),
};
const NOT_FOUND = { 404: errorContent('There is no such model or version.') };
const BAD_REQUEST = { 400: errorContent('A parameter is wrong.') };

const REGISTER: Operation = {
  description: 'Registers a model, where the model API is enabled.',
  operationId: 'registerModel',
  parameters: [
    {
      ...text(
        'url',
        'A file or folder of the model store, or the address of an archive that allowed_urls allows.',
      ),
      required: true,
    },
    text('model_name', 'The name to register it by; the one of its manifest by default.'),
    text('handler', 'The handler; the one of its manifest by default.'),
    queryParameter('runtime', 'What runs the handler; the one of its manifest by default.', {
      type: 'string',
      enum: ['PYTHON', 'PYTHON3', 'LSP'],
    }),
    integer('batch_size', 'Requests of one batch.', 1),
    integer('max_batch_delay', 'Milliseconds that a batch waits to fill.', 100),
    // What TorchServe lists as the default; in force are 120 s.
    integer(
      'response_timeout',
      'Seconds that a run may take; 120 unless the configuration says otherwise.',
      2,
    ),
    integer('startup_timeout', 'Seconds that a worker may take to start.', 120),
    integer('initial_workers', 'Workers to start with.', 0),
    flag(
      'synchronous',
      'Answers when the workers are ready; unlike the listed default, true unless it is said.',
    ),
    flag('s3_sse_kms', 'Has no effect.'),
  ],
  responses: {
    ...done('The model is registered.'),
    ...inProgress,
    ...BAD_REQUEST,
    404: errorContent('There is no such archive.'),
    409: errorContent('The version is registered already.'),
    ...INTERNAL_ERROR,
  },
};

const LIST: Operation = {
  description: 'Lists the models by name, a page at a time.',
  operationId: 'listModels',
  parameters: [
    integer('limit', 'Models of one page, up to 100.', 100),
    text('next_page_token', 'Where the page begins: what the page before gave.'),
  ],
  responses: { 200: jsonContent('A page of models.', MODELS_SCHEMA), ...INTERNAL_ERROR },
};

/** Describe, scale and unregister, of the default version or of the one in the path. */
function modelOperations(path: readonly ApiParameter[], prefix: string, which: string) {
  return {
    get: {
      description: `Describes ${which}.`,
      operationId: `${prefix}describeModel`,
      parameters: path,
      responses: {
        200: jsonContent('What it is and how it is.', MODEL_SCHEMA),
        ...NOT_FOUND,
        ...INTERNAL_ERROR,
      },
    },
    put: {
      description: `Changes the number of workers of ${which}.`,
      operationId: `${prefix}setAutoScale`,
      parameters: [
        ...path,
        integer('min_worker', 'Fewest workers.', 1),
        integer('max_worker', 'Most workers; as many as the fewest by default.', 1),
        integer('number_gpu', 'Has no effect, as in TorchServe.', 0),
        SYNCHRONOUS,
        IGNORED_TIMEOUT,
      ],
      responses: {
        ...done('The workers are there.'),
        ...inProgress,
        ...BAD_REQUEST,
        ...NOT_FOUND,
        ...INTERNAL_ERROR,
      },
    },
    delete: {
      description: `Unregisters ${which}, where the model API is enabled, after it answered what it accepted.`,
      operationId: `${prefix}unregisterModel`,
      parameters: [...path, SYNCHRONOUS, IGNORED_TIMEOUT],
      responses: {
        ...done('It is gone.'),
        202: inProgress[202],
        ...NOT_FOUND,
        408: errorContent('It did not end in time.'),
        ...INTERNAL_ERROR,
      },
    },
  } satisfies Record<string, Operation>;
}

const MODEL_PATHS: Paths = {
  '/models/{model_name}': modelOperations([MODEL], '', 'the default version of a model'),
  '/models/{model_name}/{model_version}': modelOperations(
    [MODEL, VERSION],
    'version_',
    'a version of a model; with GET, "all" stands for all of them',
  ),
  '/models/{model_name}/{model_version}/set-default': {
    put: {
      description: 'Makes a version the one that answers when none is asked for.',
      operationId: 'setDefault',
      parameters: [MODEL, VERSION],
      responses: { ...done('It is the default now.'), ...NOT_FOUND, ...INTERNAL_ERROR },
    },
  },
};

/** What TorchServe's management port serves. */
export const MANAGEMENT_PATHS: Paths = {
  '/models': { get: LIST, post: REGISTER },
  ...MODEL_PATHS,
};

/** How one model is managed. */
export function modelManagementDocument(name: string): ApiDocument {
  return apiDocument(
    { title: `RESTful Management API for: ${name}`, version: INTERFACE_VERSION },
    MODEL_PATHS,
  );
}
