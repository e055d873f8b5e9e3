/**
 * The parts that TorchServe's OpenAPI documents are made of. Their structure (paths, operations, parameters, statuses, schemas)
 * is TorchServe's, for generators of clients; the texts say what Marline does.
 */

/** A JSON schema, as far as the documents need one. */
export interface Schema {
  readonly type?: string;
  readonly format?: string;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly default?: string | number | boolean;
}

export interface ApiParameter {
  readonly in: 'path' | 'query' | 'header';
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly schema: Schema;
}

interface Content {
  readonly description: string;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
  readonly required?: boolean;
}

export interface Operation {
  readonly description: string;
  readonly operationId: string;
  readonly parameters: readonly ApiParameter[];
  readonly requestBody?: Content;
  readonly responses: Readonly<Record<number, Content>>;
  readonly deprecated?: true;
}

export type Paths = Readonly<Record<string, Readonly<Partial<Record<string, Operation>>>>>;

export interface ApiDocument {
  readonly openapi: '3.0.1';
  readonly info: { readonly title: string; readonly description?: string; readonly version: string };
  readonly paths: Paths;
}

/** The version of TorchServe whose interface this is. */
export const INTERFACE_VERSION = '0.12.0';

export function apiDocument(info: ApiDocument['info'], paths: Paths): ApiDocument {
  return { openapi: '3.0.1', info, paths };
}

const SERVER_INFO: ApiDocument['info'] = {
  title: 'TorchServe APIs',
  description: "Marline serves models with TorchServe's interface.",
  version: INTERFACE_VERSION,
};

/** The document of a port for models: these paths, and those that TorchServe lists for all such ports. */
export function serverDocument(paths: Paths): ApiDocument {
  return apiDocument(SERVER_INFO, { ...ROOT_PATHS, ...paths, ...DESCRIPTION_PATHS, ...METRICS_PATHS });
}

/** The document of a port for metrics alone. */
export function metricsDocument(): ApiDocument {
  return apiDocument(SERVER_INFO, METRICS_PATHS);
}

export function pathParameter(name: string, description: string): ApiParameter {
  return { in: 'path', name, description, required: true, schema: { type: 'string' } };
}

/** The parameters of most paths. */
export const MODEL_PARAMETER = pathParameter('model', 'The name of the model.');
export const VERSION_PARAMETER = pathParameter('version', 'The version of the model.');

export function queryParameter(
  name: string,
  description: string,
  schema: Schema = { type: 'string' },
): ApiParameter {
  return { in: 'query', name, description, required: false, schema };
}

/** An object whose `required` fields are always there. */
export function objectSchema(
  properties: Readonly<Record<string, Schema>>,
  required: readonly string[],
): Schema {
  return { type: 'object', required, properties };
}

export function jsonContent(description: string, schema: Schema): Content {
  return { description, content: { 'application/json': { schema } } };
}

const BYTES: Schema = { type: 'string', format: 'binary' };

/** A body of any type. */
export function anyContent(description: string): Content {
  return { description, content: { '*/*': { schema: BYTES } } };
}

const ERROR = objectSchema(
  {
    code: { type: 'integer', description: 'The HTTP status.' },
    type: { type: 'string', description: 'The name that TorchServe has for such errors.' },
    message: { type: 'string', description: 'What happened.' },
  },
  ['code', 'type', 'message'],
);

/** The body that all errors have. */
export function errorContent(description: string): Content {
  return jsonContent(description, ERROR);
}

export const INTERNAL_ERROR = { 500: errorContent('The server or a worker failed.') };

const DOCUMENT = objectSchema(
  { openapi: { type: 'string' }, info: { type: 'object' }, paths: { type: 'object' } },
  ['openapi', 'info', 'paths'],
);

function documentOperation(operationId: string): Operation {
  return {
    description: 'This document.',
    operationId,
    parameters: [],
    responses: { 200: jsonContent('An OpenAPI document.', DOCUMENT), ...INTERNAL_ERROR },
  };
}

const METRICS = objectSchema(
  {
    '# HELP': { type: 'string', description: 'What the metric means.' },
    '# TYPE': { type: 'string', description: 'The kind of the metric.' },
    metric: { type: 'string', description: 'Its values.' },
  },
  ['# HELP', '# TYPE', 'metric'],
);

const METRICS_OPERATION: Operation = {
  description: 'The metrics in the text format of Prometheus, on the metrics port.',
  operationId: 'metrics',
  parameters: [queryParameter('name[]', 'Only metrics of this name; may be repeated.')],
  responses: {
    200: {
      description: 'The metrics.',
      content: { 'text/plain; version=0.0.4; charset=utf-8': { schema: METRICS } },
    },
    ...INTERNAL_ERROR,
  },
};

const ROOT_PATHS: Paths = { '/': { options: documentOperation('apiDescription') } };

const DESCRIPTION_PATHS: Paths = {
  '/api-description': { get: { ...documentOperation('api-description'), deprecated: true } },
};

const METRICS_PATHS: Paths = { '/metrics': { get: METRICS_OPERATION } };
