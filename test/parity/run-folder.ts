import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GOLDENS, type RecordedConfig } from './records.js';

/** Names of the ports in a recorded configuration. */
export const PORT_NAMES = [
  'INFERENCE_PORT',
  'MANAGEMENT_PORT',
  'METRICS_PORT',
  'GRPC_INFERENCE_PORT',
  'GRPC_MANAGEMENT_PORT',
] as const;

/** What stands for the ports of a run, by name. */
export type Ports = Readonly<Record<(typeof PORT_NAMES)[number], string>>;

/** A fresh folder with all that a server of a recorded run needs. */
export interface RunFolder {
  readonly path: string;
  readonly modelStore: string;
  /** `config.properties`. */
  readonly properties: string;
  readonly config: RecordedConfig;
  /** What stands in the records for what is different on every machine. */
  readonly values: Readonly<Record<string, string>>;
  remove(): void;
}

/** The recorded model store. */
export const STORE = fileURLToPath(new URL('../fixtures/torchserve-store/', import.meta.url));
/**
 * Without the key TorchServe allows everything; ours must be told. The hosts are named in full, because theirs are addresses of this machine,
 * or none at all; the archive whose code runs is pinned.
 */
const ALLOWED_URLS = [
  'file://.*',
  'http://127.0.0.1:${WEB_PORT}/.*',
  'http://127.0.0.1:${WEB_PORT}/ok/dl7_echo.mar#sha256=${SHA256_OF_ECHO}',
  'http://127.0.0.1:18098/.*',
  'http://nosuch.invalid/.*',
].join();

/**
 * @param store the folder of archives that it gets a copy of
 * @param webPort of the file server that archives are downloaded from
 */
export function makeRunFolder(
  config: RecordedConfig,
  ports: Ports,
  store: string,
  webPort: number,
): RunFolder {
  const path = mkdtempSync(join(tmpdir(), 'marline-parity-'));
  const values = {
    ...ports,
    MODEL_STORE: join(path, 'store'),
    LAB: join(path, 'lab'),
    RUN: path,
    WEB_PORT: String(webPort),
    SHA256_OF_ECHO: sha256(join(store, 'echo.mar')),
  };
  cpSync(store, values.MODEL_STORE, { recursive: true });
  mkdirSync(join(values.LAB, 'files'), { recursive: true });
  cpSync(fileURLToPath(new URL('outside.mar', GOLDENS)), join(values.LAB, 'files/outside.mar'));
  chmodSync(path, 0o755);
  for (const [name, text] of Object.entries(config.files ?? {})) writeFileSync(join(path, name), text);
  const properties = join(path, 'config.properties');
  const lines = Object.entries({ allowed_urls: ALLOWED_URLS, ...config.properties }).map(
    ([key, value]) => `${key}=${fill(value, values)}`,
  );
  writeFileSync(properties, lines.join('\n'));
  return {
    path,
    modelStore: values.MODEL_STORE,
    properties,
    config,
    values,
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** A recorded text with the values of this run. */
export function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder);
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
