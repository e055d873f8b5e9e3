import { Module, type CanActivate, type DynamicModule, type Provider } from '@nestjs/common';
import { getAccessGuardsToken } from '#libs/inference';
import type { GuardReference, MarlineModuleShape } from './marline.options.js';

/**
 * Makes the configured guards, as `@UseGuards` would in a controller's module: classes are instantiated here, with what
 * `imports` give them, instances are taken as they are. Global, because the controllers of several modules ask them.
 */
@Module({})
export class AccessModule {
  static of(guards: readonly GuardReference[], imports: MarlineModuleShape['imports'] = []): DynamicModule {
    const references = guards.map(
      (guard, index) => ({ provide: `MARLINE_GUARD_${index}`, ...provided(guard) }) as Provider,
    );
    const all: Provider = {
      provide: getAccessGuardsToken(),
      useFactory: (...instances: CanActivate[]) => instances,
      inject: guards.map((_, index) => `MARLINE_GUARD_${index}`),
    };
    return {
      module: AccessModule,
      global: true,
      imports,
      providers: [...references, all],
      exports: [getAccessGuardsToken()],
    };
  }
}

function provided(guard: GuardReference): { useClass: unknown } | { useValue: CanActivate } {
  return typeof guard === 'function' ? { useClass: guard } : { useValue: guard };
}
