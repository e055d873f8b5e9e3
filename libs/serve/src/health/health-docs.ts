import {
  errorContent,
  jsonContent,
  objectSchema,
  MODEL_PARAMETER,
  type RouteDocument,
} from '#libs/inference';

const INDICATORS = { type: 'object', additionalProperties: { type: 'object' } };
const RESULT = objectSchema(
  {
    status: { type: 'string', enum: ['ok', 'error', 'shutting_down'] },
    info: { ...INDICATORS, description: 'What is well.' },
    error: { ...INDICATORS, description: 'What is not.' },
    details: { ...INDICATORS, description: 'Both.' },
  },
  ['status', 'details'],
);

export const LIVE: RouteDocument = {
  description: 'Whether the process answers, also while it drains.',
  responses: { 200: jsonContent('It does.', RESULT) },
};
export const READY: RouteDocument = {
  description: 'Whether every model that counts is ready and the application is not stopping.',
  responses: { 200: jsonContent('It is.', RESULT), 503: jsonContent('It is not.', RESULT) },
};
export const MODEL: RouteDocument = {
  description: 'Whether the default version of a model is ready.',
  parameters: [MODEL_PARAMETER],
  responses: {
    200: jsonContent('It is.', RESULT),
    404: errorContent('There is no such model.'),
    503: jsonContent('It is not.', RESULT),
  },
};
