/**
 * management: operators change what is loaded.
 * TorchServe's management routes: register, list, describe, scale, unregister, set-default. They parse and format;
 * everything else is the registry's.
 */
export { MANAGEMENT_PATHS } from './management-document.js';
export { ModelReadinessController } from './model-readiness.controller.js';
export { ManagementModule } from './management.module.js';
export { ModelOperations } from './model-operations.js';
export type { ParameterSource } from './models.dto.js';
