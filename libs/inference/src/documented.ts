import type { Operation } from './openapi.js';

/** What an OpenAPI document says of a route; its id is the application's to make. */
export type RouteDocument = Omit<Operation, 'operationId' | 'parameters'> &
  Partial<Pick<Operation, 'parameters'>>;

/**
 * Where `@nestjs/swagger` keeps what its decorators say. Written without it, because most applications do not have it, and importing
 * it costs those that do a tenth of a second at their start. Another version that looks elsewhere would document less, and break nothing.
 */
const METADATA = {
  operation: 'swagger/apiOperation',
  parameters: 'swagger/apiParameters',
  responses: 'swagger/apiResponse',
  extension: 'swagger/apiExtension',
  exclude: 'swagger/apiExcludeEndpoint',
  tags: 'swagger/apiUseTags',
} as const;

/** Describes a route for the OpenAPI document of the application, where it makes one. Stands above all other decorators. */
export function Documented(document: RouteDocument): MethodDecorator {
  return (_target, _key, descriptor) => {
    const { parameters = [], responses, ...operation } = document;
    define(METADATA.operation, operation, descriptor.value);
    define(METADATA.parameters, parameters, descriptor.value);
    define(METADATA.responses, responses, descriptor.value);
  };
}

/**
 * The same for a route that takes every HTTP method: the document names the one by which it is meant to be used, and not nine, two of which
 * OpenAPI 3.0 does not even have.
 */
export function DocumentedAs(method: 'get' | 'post', document: RouteDocument): MethodDecorator {
  return (target, key, descriptor) => {
    const operationId = `${target.constructor.name}_${String(key)}`;
    define(METADATA.extension, { method, operationId }, descriptor.value);
    Documented(document)(target, key, descriptor);
  };
}

/** Keeps a route out of the document: it is another spelling of one that is there. */
export function Undocumented(): MethodDecorator {
  return (_target, _key, descriptor) => define(METADATA.exclude, { disable: true }, descriptor.value);
}

/** Groups the routes of a controller in the document. */
export function tagRoutes(controller: object, tag: string): void {
  define(METADATA.tags, [tag], controller);
}

function define(key: string, value: unknown, target: unknown): void {
  Reflect.defineMetadata(key, value, target as object);
}
