/**
 * archive: a MAR file becomes a private folder, a manifest and a configuration.
 * Archives are hostile until proven otherwise: one extractor, caps counted while inflating, no links (design D6).
 */
export type { Manifest, ManifestModel, Runtime } from './manifest.js';
export type { ModelConfig } from './model-config.js';
export type { ModelArchive } from './model-archive.js';
