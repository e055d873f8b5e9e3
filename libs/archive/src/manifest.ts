/** TorchServe's `MAR-INF/MANIFEST.json`, with every key that its archiver or server knows. Unknown keys are ignored. */
export interface Manifest {
  /** Local time of packing, `DD/MM/YYYY HH:MM:SS`. */
  readonly createdOn?: string;
  readonly description?: string;
  readonly archiverVersion?: string;
  /** `python` when the manifest does not say; `null` when it says something unknown. `node` is ours. */
  readonly runtime: Runtime | null;
  readonly model: ManifestModel;
}

export type Runtime = 'python' | 'python3' | 'LSP' | 'node';

export interface ManifestModel {
  readonly modelName?: string;
  readonly modelVersion?: string;
  /** A built-in's name, a host handler's name, or a file of the archive with an optional `:function`. */
  readonly handler?: string;
  readonly serializedFile?: string;
  readonly modelFile?: string;
  readonly requirementsFile?: string;
  readonly configFile?: string;
  readonly extensions?: unknown;
  readonly envelope?: string;
  readonly version?: string;
  readonly description?: string;
  readonly sourceVocab?: string;
}
