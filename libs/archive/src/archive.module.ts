import { ConfigurableModuleBuilder, Module } from '@nestjs/common';
import { ModelStore, type ArchiveOptions } from './model-store.js';

const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN } = new ConfigurableModuleBuilder<ArchiveOptions>()
  .setClassMethodName('register')
  .build();

/** Provides the {@link ModelStore} of the given options. */
@Module({
  providers: [
    {
      provide: ModelStore,
      useFactory: (options: ArchiveOptions) => new ModelStore(options),
      inject: [MODULE_OPTIONS_TOKEN],
    },
  ],
  exports: [ModelStore],
})
export class ArchiveModule extends ConfigurableModuleClass {}
