import {
  HttpException,
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
import { toMarlineError } from '#libs/common';
import { AccessGuard } from './access.guard.js';
import { TorchServeExceptionFilter } from './exception.filter.js';
import { Plane, type PlaneName } from './plane.js';

/** Everything that a handler of ours throws is one of our errors; what guards throw never comes here. */
@Injectable()
class OwnErrorsInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next
      .handle()
      .pipe(
        catchError((error: unknown) =>
          throwError(() => (error instanceof HttpException ? error : toMarlineError(error))),
        ),
      );
  }
}

/**
 * What every controller with TorchServe's routes carries: its port, the fixed guard, TorchServe's error bodies.
 * @param interceptors further ones; what they throw is answered like the errors of the handlers
 */
export function TorchServeRoutes(plane: PlaneName, ...interceptors: Type<NestInterceptor>[]): ClassDecorator {
  return applyDecorators(
    Plane(plane),
    UseGuards(AccessGuard),
    UseFilters(TorchServeExceptionFilter),
    UseInterceptors(OwnErrorsInterceptor, ...interceptors),
  );
}
