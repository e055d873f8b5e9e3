/**
 * archive: a MAR file becomes a private folder, a manifest and a configuration.
 * Archives are hostile until proven otherwise: one extractor, caps counted while inflating, no links.
 * ModelStore opens archives, packArchive writes them, ContentCache shares their folders between processes.
 */
export {
  RUNTIMES,
  validateManifest,
  type Manifest,
  type ManifestModel,
  type ManifestOverrides,
  type Runtime,
  type ValidManifest,
} from './manifest.js';
export { parseModelConfig, type ModelConfig } from './model-config.js';
export type { EngineConfig } from './engine-config.js';
export type { TorchrunConfig } from './torchrun-config.js';
export type { ModelArchive } from './model-archive.js';
export type { ArchiveLimits } from './archive-limits.js';
export { ContentCache, type HeldContent } from './content-cache.js';
export {
  formatIdentity,
  isAlive,
  parseIdentity,
  thisProcess,
  type ProcessIdentity,
} from './process-identity.js';
export { ModelStore, type ArchiveOptions } from './model-store.js';
export {
  ARCHIVE_FORMATS,
  checkPackTarget,
  packArchive,
  type ArchiveFormat,
  type PackOptions,
} from './mar-writer.js';
export { ArchiveModule } from './archive.module.js';
