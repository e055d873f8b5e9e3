import {
  Injectable,
  UseFilters,
  UseGuards,
  UseInterceptors,
  applyDecorators,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
  type Type,
} from '@nestjs/common';
import { catchError, throwError, type Observable } from 'rxjs';
import { AccessGuard } from './access.guard.js';
import { TorchServeExceptionFilter, ownError } from './exception.filter.js';
import { Plane, type PlaneName } from './plane.js';

/** Everything that a handler of ours throws is one of our errors; what guards throw never comes here. */
@Injectable()
class OwnErrorsInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(catchError((error: unknown) => throwError(() => ownError(error))));
  }
}

/**
 * What every controller with TorchServe's routes carries: its port, the fixed guard, TorchServe's error bodies.
 * @param interceptors left out, one that makes every error one of ours; none for a controller that does so itself
 */
export function TorchServeRoutes(
  plane: PlaneName,
  interceptors: Type<NestInterceptor>[] = [OwnErrorsInterceptor],
): ClassDecorator {
  return applyDecorators(
    Plane(plane),
    UseGuards(AccessGuard),
    UseFilters(TorchServeExceptionFilter),
    UseInterceptors(...interceptors),
  );
}
