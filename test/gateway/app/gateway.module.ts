import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { MarlineModule, type MarlineModuleOptions } from '#libs/serve';
import { AccountsModule, ApiKeyGuard, ModelScopeGuard } from './accounts.js';
import { ProblemFilter } from './errors.js';
import { OrdersModule } from './orders.module.js';
import { ShopModule } from './shop.module.js';

/** The gateway: its shop as it always was and, with options for models, orders that are checked by one. */
@Module({
  imports: [AccountsModule, ShopModule],
  providers: [
    { provide: APP_GUARD, useClass: ApiKeyGuard },
    { provide: APP_FILTER, useClass: ProblemFilter },
  ],
})
export class GatewayModule {
  static with(models: () => MarlineModuleOptions): DynamicModule {
    return {
      module: GatewayModule,
      imports: [
        MarlineModule.forRootAsync({
          mount: 'ml',
          management: true,
          guards: [ModelScopeGuard],
          imports: [AccountsModule],
          useFactory: models,
        }),
        OrdersModule,
      ],
    };
  }
}
