import { UseFilters, UseGuards, applyDecorators } from '@nestjs/common';
import { AccessGuard, Plane, type PlaneName } from '#libs/inference';
import { GrpcExceptionFilter } from './grpc-exception.filter.js';

/** What every controller of a service carries: the fixed guard, which asks the configured ones, and the statuses of our errors. */
export function GrpcRoutes(plane: PlaneName): ClassDecorator {
  return applyDecorators(Plane(plane), UseGuards(AccessGuard), UseFilters(GrpcExceptionFilter));
}
