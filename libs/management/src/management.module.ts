import { Module } from '@nestjs/common';
import { ConfigurableModuleClass } from './management.options.js';
import { ModelOperations } from './model-operations.js';
import { ModelsController } from './models.controller.js';

/**
 * TorchServe's management routes over the `ModelRegistry`, which must be visible here: import InferenceModule through the
 * `imports` of `registerAsync`, or make it global. Imported without options it allows everything.
 */
@Module({ controllers: [ModelsController], providers: [ModelOperations], exports: [ModelOperations] })
export class ManagementModule extends ConfigurableModuleClass {}
