import type { Manifest } from './manifest.js';
import type { ModelConfig } from './model-config.js';

/** An archive that was read: its files in a private folder, its manifest and its configuration. */
export interface ModelArchive {
  /** Where it came from, as the caller named it: the `modelUrl` of describe. */
  readonly url: string;
  /** Name derived from the file name, for a start-up model whose manifest has none. */
  readonly defaultName: string;
  /** Folder with the unpacked files, mode 0700. Never changes while the archive is held. */
  readonly dir: string;
  /** Hex sha256 of the archive's bytes (of the listing and contents for a folder). */
  readonly sha256: string;
  readonly manifest: Manifest;
  readonly config: ModelConfig;
  /** True when code in it may run: it lies in the operator's model store, or its digest is pinned. */
  readonly trusted: boolean;
  /** Gives the folder back; the last holder on this machine removes it. May be called twice. */
  release(): Promise<void>;
}
