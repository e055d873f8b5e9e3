import { objectSchema } from '#libs/inference';

const WORKER_SCHEMA = objectSchema(
  {
    id: { type: 'string', description: 'The number of the worker.' },
    startTime: { type: 'string', description: 'When it was made.' },
    gpu: { type: 'boolean', description: 'Whether it runs on a GPU.' },
    status: {
      type: 'string',
      description: 'READY when it can take a request.',
      enum: ['READY', 'LOADING', 'UNLOADING'],
    },
  },
  ['id', 'startTime', 'status'],
);

const METRICS_SCHEMA = objectSchema(
  {
    rejectedRequests: { type: 'integer', description: 'Never given.' },
    waitingQueueSize: { type: 'integer', description: 'Never given; see jobQueueStatus.' },
    requests: { type: 'integer', description: 'Never given; see the metrics.' },
  },
  ['rejectedRequests', 'waitingQueueSize', 'requests'],
);

const QUEUE_SCHEMA = objectSchema(
  {
    remainingCapacity: { type: 'integer', description: 'Requests that can still wait.' },
    pendingRequests: { type: 'integer', description: 'Requests that wait.' },
  },
  ['remainingCapacity', 'pendingRequests'],
);

/** A description of a model, with the fields that TorchServe's document lists; some of them it never gives. */
export const MODEL_SCHEMA = objectSchema(
  {
    modelName: { type: 'string', description: 'The name.' },
    modelVersion: { type: 'string', description: 'The version.' },
    modelUrl: { type: 'string', description: 'Where the archive came from.' },
    minWorkers: { type: 'integer', description: 'Fewest workers.' },
    maxWorkers: { type: 'integer', description: 'Most workers.' },
    batchSize: { type: 'integer', description: 'Requests of one batch.' },
    maxBatchDelay: { type: 'integer', description: 'Milliseconds that a batch waits to fill.' },
    status: { type: 'string', description: 'Never given.' },
    workers: { type: 'array', items: WORKER_SCHEMA, description: 'The workers.' },
    metrics: METRICS_SCHEMA,
    jobQueueStatus: QUEUE_SCHEMA,
  },
  [
    'modelName',
    'modelVersion',
    'modelUrl',
    'minWorkers',
    'maxWorkers',
    'status',
    'workers',
    'metrics',
  ].concat('jobQueueStatus'),
);

/** A page of models. */
export const MODELS_SCHEMA = objectSchema(
  {
    nextPageToken: {
      type: 'string',
      description: 'The next_page_token of the next page, when there is one.',
    },
    models: {
      type: 'array',
      items: objectSchema(
        {
          modelName: { type: 'string', description: 'The name.' },
          modelUrl: { type: 'string', description: 'Where its archive came from.' },
        },
        ['modelName', 'modelUrl'],
      ),
      description: 'The models of this page.',
    },
  },
  ['models'],
);

/** What a change answers. */
export const STATUS_SCHEMA = objectSchema({ status: { type: 'string', description: 'What was done.' } }, [
  'status',
]);
