import { Module } from '@nestjs/common';
import { ConfigurableModuleClass } from './management.options.js';
import { ModelsController } from './models.controller.js';

/**
 * TorchServe's management routes over the `ModelRegistry`, which must be visible here: import InferenceModule through the
 * `imports` of `registerAsync`, or make it global. Imported without options it allows everything.
 */
@Module({ controllers: [ModelsController] })
export class ManagementModule extends ConfigurableModuleClass {}
