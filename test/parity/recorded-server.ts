import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { loadConfiguration } from '../../src/configuration.js';
import { startServer } from '../../src/server.js';
import { GrpcClient, type GrpcAnswer, type RecordedCall } from '../support/grpc-client.js';
import { startArchiveHost } from './archive-host.js';
import { KeyPlaceholders } from './key-placeholders.js';
import {
  exchange,
  parseResponse,
  type HttpResponse,
  type ReceivedResponse,
} from '../support/http-exchange.js';
import { freePort } from '../support/free-port.js';

/** A request as it was sent; `raw` is all of its bytes. */
export interface RecordedRequest {
  readonly method: string;
  readonly port: 'inference' | 'management' | 'metrics';
  readonly path: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string;
  readonly bodyBase64?: string;
  readonly bodyFile?: string;
  readonly bodyRepeat?: readonly [string, number];
  readonly httpVersion?: string;
  readonly raw?: string;
  readonly rawBase64?: string;
}

/** What was answered; `noResponse` is true where nothing ever was. */
export interface RecordedResponse extends HttpResponse {
  readonly bodyBase64?: string;
  readonly bodyRepeat?: readonly [string, number];
  readonly chunks?: readonly string[];
  readonly noResponse?: boolean;
}

interface Step {
  readonly name: string;
  readonly run: string;
  readonly config: string;
  readonly volatile?: readonly string[];
  /** Records of the same name were sent together, each so many milliseconds later. */
  readonly parallel?: string;
  readonly delayMs?: number;
  /** How long a step waits. */
  readonly ms?: number;
}

/** A request over HTTP with its answer, or a step that a replay does too (`wait`, `sleep`). */
export interface RecordedHttp extends Step {
  readonly kind: 'http' | 'wait' | 'sleep' | 'observation';
  readonly request: RecordedRequest;
  readonly response: RecordedResponse;
}

/** A call over gRPC with its answer. */
export interface RecordedGrpc extends Step {
  readonly kind: 'grpc';
  readonly request: RecordedCall;
  readonly response: {
    readonly codeNumber: number;
    readonly details: string;
    readonly messages: readonly object[];
  };
}

/** One step of a run of the real TorchServe. */
export type Recorded = RecordedHttp | RecordedGrpc;

/** What was answered to a step. */
export type Answer = ReceivedResponse | GrpcAnswer;

interface RecordedConfig {
  readonly properties: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files of the run's own folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** A standalone server with a recorded configuration, on free ports and a fresh copy of the recorded model store. */
export interface RecordedServer {
  /** Does all steps of a run in their order, and gives the answers; what is different on every machine is written as in the records. */
  replayAll(run: readonly Recorded[]): Promise<Map<Recorded, Answer>>;
  close(): Promise<void>;
}

const goldens = new URL('goldens/', import.meta.url);
const store = fileURLToPath(new URL('../fixtures/torchserve-store/', import.meta.url));
/**
 * Without the key TorchServe allows everything; ours must be told. The hosts are named in full, because theirs are addresses of this machine,
 * or none at all; the archive whose code runs is pinned.
 */
const ALLOWED_URLS = [
  'file://.*',
  'http://127.0.0.1:${WEB_PORT}/.*',
  `http://127.0.0.1:\${WEB_PORT}/ok/dl7_echo.mar#sha256=${sha256(join(store, 'echo.mar'))}`,
  'http://127.0.0.1:18098/.*',
  'http://nosuch.invalid/.*',
].join();
/** What the clients of some recorded calls allowed, by name. */
const CALL_DEADLINES_MS: Readonly<Record<string, number>> = { deadline: 500 };
const READY_LIMIT_MS = 60_000;
const READY_POLL_MS = 100;
/** The only header of a step that is no record. */
const HOST = ['Host', 'localhost'] as const;
/** Where TorchServe never answered, so long is waited for an answer of ours. */
const SILENCE_MS = 4_000;

export function readRecords(file: string): Recorded[] {
  const lines = readFileSync(new URL(file, goldens), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Recorded);
}

/** @param python the interpreter of archives with Python handlers */
export async function startRecorded(config: string, python?: string): Promise<RecordedServer> {
  const folder = mkdtempSync(join(tmpdir(), 'marline-parity-'));
  const host = await startArchiveHost(store);
  const paths = {
    MODEL_STORE: join(folder, 'store'),
    LAB: join(folder, 'lab'),
    RUN: folder,
    WEB_PORT: String(host.port),
  };
  cpSync(store, paths.MODEL_STORE, { recursive: true });
  mkdirSync(join(paths.LAB, 'files'), { recursive: true });
  cpSync(fileURLToPath(new URL('outside.mar', goldens)), join(paths.LAB, 'files/outside.mar'));
  chmodSync(folder, 0o755);

  const recorded = readConfig(config);
  for (const [name, text] of Object.entries(recorded.files ?? {})) writeFileSync(join(folder, name), text);
  const { inference_address, management_address } = recorded.properties;
  // Two planes on one port stay so; the port 0 would be another one for each.
  const shared = inference_address === management_address ? String(await freePort()) : '0';
  const filled = (text: string) =>
    fill(text, { ...paths, INFERENCE_PORT: shared, MANAGEMENT_PORT: shared, METRICS_PORT: '0' });
  const properties = Object.entries({ allowed_urls: ALLOWED_URLS, ...recorded.properties }).map(
    ([key, value]) => `${key}=${filled(value)}`,
  );
  writeFileSync(join(folder, 'config.properties'), properties.join('\n'));
  const configuration = loadConfiguration({
    directory: folder,
    environment: recorded.env ?? {},
    commandLine: {
      model_store: paths.MODEL_STORE,
      cache_dir: join(folder, 'cache'),
      disable_token_authorization:
        recorded.args?.includes('--disable-token-auth') === true ? 'true' : undefined,
      enable_model_api: recorded.args?.includes('--enable-model-api') === true ? 'true' : undefined,
      python,
      grpc_inference_port: '0',
      grpc_management_port: '0',
    },
  });
  const server = await startServer(configuration, [], false);
  const keys = new KeyPlaceholders(join(folder, 'key_file.json'));

  const withKeys = <Call extends Pick<RecordedCall, 'metadata'>>(call: Call): Call => {
    const metadata = call.metadata?.map(([name, value]) => [name, keys.fill(value)] as const);
    return { ...call, ...(metadata && { metadata }) };
  };

  if (server.grpc === undefined) throw new Error('The packages of gRPC are not installed.');
  const grpc = new GrpcClient(server.grpc.inference.port, server.grpc.management.port);

  async function replay({ request, response }: RecordedHttp): Promise<ReceivedResponse> {
    const address = server.addresses[request.port];
    if (address === undefined || !('port' in address))
      throw new Error(`The server has no ${request.port} port.`);
    const limitMs = response?.noResponse === true ? SILENCE_MS : undefined;
    const headers = request.headers?.map(([name, value]) => [name, keys.fill(value)] as const);
    const bytes = bytesOf({ ...request, ...(headers && { headers }) }, paths);
    const { text } = await exchange(address.port, bytes, 'latin1', limitMs);
    const answer = parseResponse(text);
    return { ...answer, body: scrub(answer.body, paths) };
  }

  async function untilReady(record: RecordedHttp): Promise<void> {
    const giveUpAt = performance.now() + READY_LIMIT_MS;
    const headers = [HOST, ...(record.request.headers ?? [])];
    const step = { ...record, request: { ...record.request, headers } };
    for (;;) {
      const { status, body } = await replay(step);
      if (status === 200 && allReady(body)) return;
      if (performance.now() > giveUpAt) throw new Error(`${record.run}/${record.name} never came: ${body}`);
      await sleep(READY_POLL_MS);
    }
  }

  return {
    async replayAll(run) {
      const answers = new Map<Recorded, Answer>();
      for (const step of steps(run)) {
        const [first] = step;
        if (first?.kind === 'wait') await untilReady(first);
        else if (first?.kind === 'sleep') await sleep(first.ms);
        await Promise.all(
          step.map(async (record) => {
            if (record.kind !== 'http' && record.kind !== 'grpc') return;
            await sleep(record.delayMs ?? 0);
            const limitMs = CALL_DEADLINES_MS[record.name];
            answers.set(
              record,
              record.kind === 'grpc'
                ? await grpc.call(withKeys(record.request), limitMs)
                : await replay(record),
            );
          }),
        );
      }
      return answers;
    },
    async close() {
      grpc.close();
      await server.close();
      await host.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** Records one by one, or together where they were sent together. */
function steps(run: readonly Recorded[]): Recorded[][] {
  const found: Recorded[][] = [];
  for (const record of run) {
    const last = found.at(-1);
    if (record.parallel !== undefined && last?.[0]?.parallel === record.parallel) last.push(record);
    else found.push([record]);
  }
  return found;
}

function allReady(body: string): boolean {
  const [description] = JSON.parse(body) as { workers: { status: string }[] }[];
  const workers = description?.workers ?? [];
  return workers.length > 0 && workers.every(({ status }) => status === 'READY');
}

/** All bytes of a request, as latin1. */
function bytesOf(request: RecordedRequest, values: Readonly<Record<string, string>>): string {
  const { raw, rawBase64, method, path, headers = [HOST], httpVersion = 'HTTP/1.1' } = request;
  if (rawBase64 !== undefined) return Buffer.from(rawBase64, 'base64').toString('latin1');
  if (raw !== undefined) return Buffer.from(raw).toString('latin1');
  const head = [
    `${method} ${fill(path, values)} ${httpVersion}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  return `${Buffer.from(`${head.join('\r\n')}\r\n\r\n`).toString('latin1')}${bodyOf(request).toString('latin1')}`;
}

function bodyOf({ body, bodyBase64, bodyFile, bodyRepeat }: RecordedRequest): Buffer {
  if (bodyFile !== undefined) return readFileSync(new URL(bodyFile, goldens));
  if (bodyBase64 !== undefined) return Buffer.from(bodyBase64, 'base64');
  if (bodyRepeat !== undefined) return Buffer.from(bodyRepeat[0].repeat(bodyRepeat[1]));
  return Buffer.from(body ?? '');
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
    .replaceAll(`127.0.0.1:${WEB_PORT}/`, '127.0.0.1:${WEB_PORT}/')
    .replaceAll(`ostname="${hostname()}"`, 'ostname="${HOSTNAME}"');
}
