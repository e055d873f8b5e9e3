import {
  MODEL_PARAMETER,
  VERSION_PARAMETER,
  INTERNAL_ERROR,
  errorContent,
  jsonContent,
  objectSchema,
  queryParameter,
  type ApiParameter,
  type RouteDocument,
} from '#libs/inference';
import { MODELS_SCHEMA, STATUS_SCHEMA } from './management-schemas.js';

const VERSIONED = [MODEL_PARAMETER, VERSION_PARAMETER];

const text = (name: string, description: string) => queryParameter(name, description);
const integer = (name: string, description: string, byDefault?: number) =>
  queryParameter(name, description, { type: 'integer', default: byDefault });
const flag = (name: string, description: string, byDefault: boolean) =>
  queryParameter(name, description, { type: 'boolean', default: byDefault });

const DONE = { 200: jsonContent('It is done.', STATUS_SCHEMA) };
const IN_PROGRESS = { 202: jsonContent('It goes on in the background.', STATUS_SCHEMA) };
const BAD_REQUEST = { 400: errorContent('A parameter or the archive is wrong; the text says which.') };
const NOT_FOUND = { 404: errorContent('There is no such model or version.') };
const DISABLED = { 405: errorContent('The model API is not enabled.') };
const NO_ROOM = { 507: errorContent('Memory or a device has no room for the workers.') };

const REGISTRATION: readonly ApiParameter[] = [
  {
    ...text('url', 'A file or folder of the model store, or the address of an archive that is allowed.'),
    required: true,
  },
  text('model_name', 'The name to register it by; the one of its manifest by default.'),
  text('handler', 'The handler; the one of its manifest by default.'),
  text('runtime', 'What runs the handler; the one of its manifest by default.'),
  integer('batch_size', 'Most requests of one batch.'),
  integer('max_batch_delay', 'Milliseconds that a batch waits to fill.'),
  integer('initial_workers', 'Workers to start with.'),
  integer('response_timeout', 'Seconds that a run may take.'),
  integer('startup_timeout', 'Seconds that a worker may take to start.'),
  flag('synchronous', 'Answers when the workers are ready.', true),
  flag('replace', 'Puts the version in the place of the default one, without a failed request.', false),
];
const REGISTRATION_BODY = {
  description: 'The same parameters as JSON; those of the query do not count then.',
  required: false,
  content: { 'application/json': { schema: { type: 'object' } } },
};

export const REGISTER: RouteDocument = {
  description: 'Registers a model.',
  parameters: REGISTRATION,
  requestBody: REGISTRATION_BODY,
  responses: {
    ...DONE,
    ...IN_PROGRESS,
    ...BAD_REQUEST,
    404: errorContent('There is no such archive.'),
    ...DISABLED,
    409: errorContent('The version is registered already.'),
    500: errorContent('Its workers did not start; `cause` says why.'),
    ...NO_ROOM,
  },
};
export const PLAN: RouteDocument = {
  description: 'What a registration with the same parameters would do. Nothing is registered.',
  parameters: REGISTRATION,
  requestBody: REGISTRATION_BODY,
  responses: {
    200: jsonContent('What it would do, or why it would be refused.', { type: 'object' }),
    ...BAD_REQUEST,
    404: errorContent('There is no such archive.'),
    ...DISABLED,
    ...INTERNAL_ERROR,
  },
};
export const LIST: RouteDocument = {
  description: 'The models by name, a page at a time.',
  parameters: [
    integer('limit', 'Models of one page, up to 100.', 100),
    text('next_page_token', 'Where the page begins: what the page before gave.'),
  ],
  responses: { 200: jsonContent('A page of models.', MODELS_SCHEMA) },
};

const WORKER = objectSchema(
  {
    id: { type: 'string' },
    startTime: { type: 'string' },
    status: { type: 'string', enum: ['READY', 'UNLOADING'] },
    memoryUsage: { type: 'integer', description: 'Bytes of its process; 0 for a thread.' },
    pid: { type: 'integer' },
    gpu: { type: 'boolean' },
    gpuUsage: { type: 'string' },
  },
  ['id', 'startTime', 'status', 'memoryUsage', 'pid', 'gpu', 'gpuUsage'],
);
const count = (description: string) => ({ type: 'integer', description });
const DESCRIPTION = objectSchema(
  {
    modelName: { type: 'string' },
    modelVersion: { type: 'string' },
    modelUrl: { type: 'string' },
    runtime: { type: 'string' },
    minWorkers: count('Fewest workers.'),
    maxWorkers: count('Most workers.'),
    batchSize: count('Most requests of one batch.'),
    maxBatchDelay: count('In milliseconds.'),
    responseTimeout: count('In seconds.'),
    startupTimeout: count('In seconds.'),
    deviceType: { type: 'string', enum: ['cpu', 'gpu'] },
    loadedAtStartup: { type: 'boolean' },
    workers: { type: 'array', items: WORKER },
    jobQueueStatus: objectSchema(
      { remainingCapacity: { type: 'integer' }, pendingRequests: { type: 'integer' } },
      ['remainingCapacity', 'pendingRequests'],
    ),
    marline: {
      type: 'object',
      description: 'How it is run and its requests are split, where that was said.',
    },
    customizedMetadata: { type: 'object', description: 'What its handler says, where it was asked.' },
  },
  ['modelName', 'modelVersion', 'modelUrl', 'minWorkers', 'maxWorkers', 'workers', 'jobQueueStatus'],
);

function describe(which: string, path: readonly ApiParameter[]): RouteDocument {
  return {
    description: `Describes ${which}.`,
    parameters: [...path, flag('customized', 'Asks the handler of the archive, too.', false)],
    responses: {
      200: jsonContent('What it is and how it is.', { type: 'array', items: DESCRIPTION }),
      ...NOT_FOUND,
      ...INTERNAL_ERROR,
      503: errorContent('There is no worker to ask.'),
    },
  };
}

function scale(which: string, path: readonly ApiParameter[]): RouteDocument {
  return {
    description: `Changes the number of workers of ${which}.`,
    parameters: [
      ...path,
      integer('min_worker', 'Fewest workers.', 1),
      integer('max_worker', 'Most workers; as many as the fewest by default.'),
      text('model_version', 'The version, where the path has none.'),
      flag('synchronous', 'Answers when it is done.', false),
    ],
    responses: { ...DONE, ...IN_PROGRESS, ...BAD_REQUEST, ...NOT_FOUND, ...INTERNAL_ERROR, ...NO_ROOM },
  };
}

function unregister(which: string, path: readonly ApiParameter[]): RouteDocument {
  return {
    description: `Takes ${which} out of service after it answered what it accepted.`,
    parameters: path,
    responses: {
      ...DONE,
      403: errorContent('It is the default one of several versions, or has a weight in a split.'),
      ...NOT_FOUND,
      ...DISABLED,
      ...INTERNAL_ERROR,
    },
  };
}

const DEFAULT = 'the default version of a model';
export const DESCRIBE = describe(DEFAULT, [MODEL_PARAMETER]);
export const DESCRIBE_VERSION = describe('a version of a model, or all of them: `all`', VERSIONED);
export const SCALE = scale(DEFAULT, [MODEL_PARAMETER]);
export const SCALE_VERSION = scale('a version of a model', VERSIONED);
export const UNREGISTER = unregister(DEFAULT, [MODEL_PARAMETER]);
export const UNREGISTER_VERSION = unregister('a version of a model', VERSIONED);
export const SET_DEFAULT: RouteDocument = {
  description: 'Makes a version the one that answers when none is asked for.',
  parameters: VERSIONED,
  responses: { ...DONE, ...NOT_FOUND },
};

const WEIGHTS = {
  type: 'object',
  additionalProperties: { type: 'number' },
  description: 'By version: how many requests it gets in relation to the others, from 0 to 1000000.',
};
export const TRAFFIC: RouteDocument = {
  description: 'How the requests for a model that name no version are split between its versions.',
  parameters: [MODEL_PARAMETER],
  responses: { 200: jsonContent('The weights; none while they are not split.', WEIGHTS), ...NOT_FOUND },
};
export const SPLIT_TRAFFIC: RouteDocument = {
  description: 'Splits the requests for a model that name no version between its versions.',
  parameters: [MODEL_PARAMETER],
  requestBody: { ...jsonContent('The weights.', WEIGHTS), required: true },
  responses: { ...DONE, ...BAD_REQUEST, ...NOT_FOUND },
};
export const END_SPLIT: RouteDocument = {
  description: 'Gives all of them to the default version again.',
  parameters: [MODEL_PARAMETER],
  responses: { ...DONE, ...NOT_FOUND },
};
export const READINESS: RouteDocument = {
  description: "KServe's question whether a model has workers.",
  parameters: [MODEL_PARAMETER],
  responses: {
    200: jsonContent(
      'Whether it has.',
      objectSchema({ name: { type: 'string' }, ready: { type: 'boolean' } }, ['name', 'ready']),
    ),
    ...NOT_FOUND,
  },
};
