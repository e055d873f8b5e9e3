import { MarlineError } from '#libs/common';
import { invalid } from './archive-errors.js';

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

/** Where an archive keeps its manifest; the folder is reserved for it. */
export const MANIFEST_PATH = 'MAR-INF/MANIFEST.json';

/** The runtimes that a manifest may name, in the order in which the archiver offers them. */
export const RUNTIMES: readonly Runtime[] = ['python', 'python3', 'LSP', 'node'];

/** What an archive without a manifest counts as. */
export const EMPTY_MANIFEST: Manifest = { runtime: 'python', model: {} };

const TEXT_KEYS = [
  'modelName',
  'modelVersion',
  'handler',
  'serializedFile',
  'modelFile',
  'requirementsFile',
  'configFile',
  'envelope',
  'version',
  'description',
  'sourceVocab',
] as const;

/** True when `name` is one of {@link RUNTIMES}, in its exact letter case. */
export function isRuntime(name: unknown): name is Runtime {
  return RUNTIMES.some((runtime) => runtime === name);
}

/**
 * Reads the text of a manifest as leniently as TorchServe: unknown keys are ignored, an unknown runtime becomes `null`,
 * numbers and booleans where a text belongs become texts (a number as it is written: `1.0` stays `1.0`).
 * @throws MarlineError `ARCHIVE_INVALID` when it is not a JSON object, or its `model` is `null`
 */
export function parseManifest(text: string): Manifest {
  const json = parseObject(text);
  if (json['model'] === null) throw invalid('Missing Model entry in manifest file.');
  const model = json['model'] ?? {};
  if (!isObject(model)) throw unparsable();
  const runtime = json['runtime'] === undefined ? 'python' : json['runtime'];
  return dropUndefined({
    createdOn: textOf(json, 'createdOn', text),
    description: textOf(json, 'description', text),
    archiverVersion: textOf(json, 'archiverVersion', text),
    runtime: isRuntime(runtime) ? runtime : null,
    model: dropUndefined({
      ...Object.fromEntries(TEXT_KEYS.map((key) => [key, textOf(model, key, text)])),
      extensions: model['extensions'],
    }),
  });
}

/** What the archiver writes of a model, in its order. */
const WRITTEN_KEYS = [
  'modelName',
  'serializedFile',
  'handler',
  'modelFile',
  'modelVersion',
  'extensions',
  'requirementsFile',
  'configFile',
] as const;

/** The manifest's text exactly as the archiver writes it: two spaces, its order of keys, no final newline. */
export function formatManifest({ createdOn, runtime, model, archiverVersion }: Manifest): string {
  const written = Object.fromEntries(WRITTEN_KEYS.map((key) => [key, model[key]]));
  return escapeNonAscii(JSON.stringify({ createdOn, runtime, model: written, archiverVersion }, null, 2));
}

/** `DD/MM/YYYY HH:MM:SS` in local time, the form of `createdOn`. */
export function formatCreatedOn(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${two(date.getDate())}/${two(date.getMonth() + 1)}/${date.getFullYear()}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** What a registration says about an archive; empty and absent values leave the manifest's own. */
export interface ManifestOverrides {
  readonly modelName?: string | null;
  /** Replaces the manifest's runtime; a name that is none of {@link RUNTIMES} makes the manifest invalid. */
  readonly runtime?: string | null;
  readonly handler?: string | null;
  /** True for a start-up model: an archive without a name is called after its file. */
  readonly atStartup?: boolean;
  /** The handler of a manifest that names none (`default_service_handler`). */
  readonly defaultHandler?: string | null;
  /** The configured `service_envelope`; it replaces the manifest's, also when there is none. */
  readonly envelope?: string | null;
}

/** A manifest with everything that a registration needs. */
export interface ValidManifest {
  readonly name: string;
  readonly version: string;
  readonly manifest: Manifest & { readonly runtime: Runtime };
}

/**
 * Fills in an archive's manifest at registration and checks it, in TorchServe's order and with its texts: name, runtime,
 * handler, envelope, version (`1.0` when there is none). Neither the characters of a name nor the presence of a handler
 * are checked.
 * @throws MarlineError `ARCHIVE_INVALID`
 */
export function validateManifest(
  archive: { readonly manifest: Manifest; readonly defaultName: string },
  overrides: ManifestOverrides = {},
): ValidManifest {
  const { envelope: _, ...own } = archive.manifest.model;
  const name =
    overrides.modelName || own.modelName || (overrides.atStartup === true ? archive.defaultName : undefined);
  const runtime = overrides.runtime ?? archive.manifest.runtime;
  const version = own.modelVersion ?? '1.0';
  if (name === undefined) throw invalid('Model name is not defined.');
  if (!isRuntime(runtime)) throw invalid('Runtime is not defined or invalid.');
  const handler = overrides.handler ?? own.handler ?? overrides.defaultHandler ?? undefined;
  const envelope = overrides.envelope ?? undefined;
  const model = dropUndefined({ ...own, modelName: name, modelVersion: version, handler, envelope });
  return { name, version, manifest: { ...archive.manifest, runtime, model } };
}

/**
 * The name of a start-up model whose manifest has none: the file's name without `.mar`, `.model` or what follows them;
 * every character that is no letter, digit or underscore, and an underscore at the start, becomes `_` (`foo-1.mar` → `foo_1`).
 */
export function defaultModelName(url: string): string {
  const file = url.slice(url.lastIndexOf('/') + 1);
  const named =
    file.includes('.model') || file.includes('.mar') ? file.slice(0, file.lastIndexOf('.')) : file;
  return named.replace(/\W|^_/g, '_');
}

function parseObject(text: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw unparsable(error);
  }
  if (!isObject(json)) throw unparsable();
  return json;
}

function textOf(object: Record<string, unknown>, key: string, source: string): string | undefined {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  if (typeof value !== 'number') throw unparsable();
  // A number loses its spelling in JSON.parse, but a version written as 1.0 is "1.0" to TorchServe, not "1".
  const spelling = new RegExp(`"${key}"\\s*:\\s*(-?[0-9][0-9.eE+-]*)`).exec(source)?.[1];
  return spelling !== undefined && Number(spelling) === value ? spelling : String(value);
}

// The archiver is a Python program: its JSON is pure ASCII.
function escapeNonAscii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function dropUndefined<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unparsable(cause?: unknown): MarlineError {
  return new MarlineError('ARCHIVE_INVALID', { reason: 'Failed to parse signature.json.' }, { cause });
}
