import { ConfigurableModuleBuilder } from '@nestjs/common';

/** What the management routes may do. */
export interface ManagementOptions {
  /** False refuses registering and unregistering with 405, as TorchServe's `enable_model_api=false` does. */
  readonly enableModelApi: boolean;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN: MANAGEMENT_OPTIONS } =
  new ConfigurableModuleBuilder<ManagementOptions>({ moduleName: 'Management' })
    .setClassMethodName('register')
    .build();
