import {
  Inject,
  UseInterceptors,
  createParamDecorator,
  mixin,
  type ExecutionContext,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { BatchingInterceptor, type InferOptions, type InferRequest } from './batching.interceptor.js';
import { ModelRegistry } from './model-registry.js';
import { ServedModel } from './served-model.js';

/**
 * Runs a model on the requests of the application's own routes, after its guards and before its pipes. Errors are Nest's
 * exceptions, so that the application's own format applies. When the client leaves, the run is cancelled and the route is
 * not called. Several on one route run one after the other, the lowest first.
 *
 * @example
 * @Post()
 * @Infer('fraud', {
 *   input: (request: FastifyRequest<{ Body: Order }>) => request.body,
 *   attach: 'fraud', budgetMs: 20, onFailure: 'open', refuseIf: (risk: Risk) => risk.score > 0.95,
 * })
 * create(@Body() order: Order, @Inferred('fraud') fraud: Inference<Risk>) { … }
 * @publicApi
 */
export function Infer<Input, Output, Request = InferRequest>(
  model: string,
  options: InferOptions<Input, Output, Request>,
): ClassDecorator & MethodDecorator {
  return UseInterceptors(boundTo(model, options));
}

/** The {@link Inference} that {@link Infer} attached to the request under this name. @publicApi */
export const Inferred: (attach: string) => ParameterDecorator = createParamDecorator(
  (attach: string, context: ExecutionContext): unknown =>
    context.switchToHttp().getRequest<Record<string, unknown>>()[attach],
);

// A class of its own per use, as Nest's FileInterceptor does, because one class would find one set of options on a route
// that asks two models.
function boundTo<Input, Output, Request>(
  model: string,
  options: InferOptions<Input, Output, Request>,
): Type<NestInterceptor> {
  class InferInterceptor extends BatchingInterceptor<Input, Output, Request> {
    constructor(@Inject(ModelRegistry) registry: ModelRegistry) {
      super(new ServedModel(model, registry), options);
    }
  }
  return mixin(InferInterceptor);
}
