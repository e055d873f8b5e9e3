import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfiguration } from '../../src/configuration.js';
import { startServer } from '../../src/server.js';
import { exchange, parseResponse, type HttpResponse } from '../support/http-exchange.js';

/** One step of a run of the real TorchServe: a request with its answer, or (`wait`, `sleep`, …) what a replay may skip. */
export interface Recorded {
  readonly name: string;
  readonly kind: 'http' | 'wait' | 'sleep' | 'observation';
  readonly run: string;
  readonly config: string;
  readonly request: {
    readonly method: string;
    readonly port: 'inference' | 'management' | 'metrics';
    readonly path: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly body?: string;
  };
  readonly response: HttpResponse;
  readonly volatile?: readonly string[];
}

interface RecordedConfig {
  readonly properties: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A standalone server with a recorded configuration, on free ports and a fresh copy of the recorded model store. */
export interface RecordedServer {
  /** Sends a recorded request; what is different on every machine is written as in the records. */
  replay(record: Recorded): Promise<HttpResponse>;
  close(): Promise<void>;
}

const goldens = new URL('goldens/', import.meta.url);
const store = fileURLToPath(new URL('../fixtures/torchserve-store/', import.meta.url));
// Nothing listens there: remote archives are refused before anybody is asked for them.
const NO_WEB_SERVER = '9';

export function readRecords(file: string): Recorded[] {
  const lines = readFileSync(new URL(file, goldens), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Recorded);
}

export async function startRecorded(config: string): Promise<RecordedServer> {
  const folder = mkdtempSync(join(tmpdir(), 'marline-parity-'));
  const paths = { MODEL_STORE: join(folder, 'store'), LAB: join(folder, 'lab'), WEB_PORT: NO_WEB_SERVER };
  cpSync(store, paths.MODEL_STORE, { recursive: true });
  mkdirSync(join(paths.LAB, 'files'), { recursive: true });
  cpSync(fileURLToPath(new URL('outside.mar', goldens)), join(paths.LAB, 'files/outside.mar'));
  chmodSync(folder, 0o755);

  const filled = (text: string) =>
    fill(text, { ...paths, INFERENCE_PORT: '0', MANAGEMENT_PORT: '0', METRICS_PORT: '0' });
  const recorded = readConfig(config);
  const properties = Object.entries(recorded.properties).map(([key, value]) => `${key}=${filled(value)}`);
  writeFileSync(join(folder, 'config.properties'), properties.join('\n'));
  const configuration = loadConfiguration({
    directory: folder,
    environment: recorded.env ?? {},
    commandLine: {
      model_store: paths.MODEL_STORE,
      cache_dir: join(folder, 'cache'),
      enable_model_api: recorded.args?.includes('--enable-model-api') === true ? 'true' : undefined,
    },
  });
  const server = await startServer(configuration, [], false);
  return {
    async replay({ request }) {
      const address = server.addresses[request.port];
      if (address === undefined || !('port' in address))
        throw new Error(`The server has no ${request.port} port.`);
      const head = [
        `${request.method} ${fill(request.path, paths)} HTTP/1.1`,
        ...request.headers.map(([name, value]) => `${name}: ${value}`),
      ];
      const { text } = await exchange(
        address.port,
        `${head.join('\r\n')}\r\n\r\n${request.body ?? ''}`,
        'utf8',
      );
      const response = parseResponse(text);
      return { ...response, body: scrub(response.body, paths) };
    },
    async close() {
      await server.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function readConfig(name: string): RecordedConfig {
  const configs = JSON.parse(readFileSync(new URL('configs.json', goldens), 'utf8')) as Record<
    string,
    RecordedConfig
  >;
  const config = configs[name];
  if (config === undefined) throw new Error(`configs.json has no configuration ${name}.`);
  return config;
}

function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder);
}

function scrub(
  text: string,
  { MODEL_STORE, LAB, WEB_PORT }: Readonly<Record<'MODEL_STORE' | 'LAB' | 'WEB_PORT', string>>,
): string {
  return text
    .replaceAll(MODEL_STORE, '${MODEL_STORE}')
    .replaceAll(LAB, '${LAB}')
    .replaceAll(`127.0.0.1:${WEB_PORT}/`, '127.0.0.1:${WEB_PORT}/');
}
