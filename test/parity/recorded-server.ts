import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GrpcClient, type GrpcAnswer, type RecordedCall } from '../support/grpc-client.js';
import { exchange, parseResponse, type ReceivedResponse } from '../support/http-exchange.js';
import { startArchiveHost } from './archive-host.js';
import { KeyPlaceholders } from './key-placeholders.js';
import type { Launcher } from './launch.js';
import { GOLDENS, readConfig, type Recorded, type RecordedHttp, type RecordedRequest } from './records.js';
import { fill, makeRunFolder } from './run-folder.js';

/** What was answered to a step. */
export type Answer = ReceivedResponse | GrpcAnswer;

/** A server with a recorded configuration and a fresh copy of the recorded model store. */
export interface RecordedServer {
  /** Does all steps of a run in their order, and gives the answers; what is different on every machine is written as in the records. */
  replayAll(run: readonly Recorded[]): Promise<Map<Recorded, Answer>>;
  close(): Promise<void>;
}

/** The only header of a step that is no record. */
const HOST = ['Host', 'localhost'] as const;
/** What came before some records and is not among them, though their answers tell: the first two of three numbers that a sequence sums up. */
const UNRECORDED: Readonly<Record<string, readonly RecordedRequest[]>> = {
  'grpc-main/http-stateful-2': ['1', '2'].map((body, index) => ({
    method: 'POST',
    port: 'inference',
    path: '/predictions/stateful',
    headers: [
      HOST,
      ['Content-Type', 'text/plain'],
      ['ts_request_sequence_id', 'http-1'],
      ...(index === 0 ? ([['ts_request_sequence_start', 'true']] as const) : []),
      ['Content-Length', '1'],
    ],
    body,
  })),
};
/** What the clients of some recorded calls allowed, by name. */
const CALL_DEADLINES_MS: Readonly<Record<string, number>> = { deadline: 500 };
const READY_LIMIT_MS = 60_000;
const READY_POLL_MS = 100;
/** Where TorchServe never answered, so long is waited for an answer of ours. */
const SILENCE_MS = 4_000;

export async function startRecorded(name: string, launcher: Launcher): Promise<RecordedServer> {
  const store = await launcher.store();
  const host = await startArchiveHost(store);
  const config = readConfig(name);
  const folder = makeRunFolder(config, await launcher.ports(config), store, host.port);
  const cleanUp = async () => {
    await host.close();
    folder.remove();
  };
  const server = await launcher.start(folder).catch(async (error: unknown) => {
    await cleanUp();
    throw error;
  });
  const { values } = folder;
  const keys = new KeyPlaceholders(join(folder.path, 'key_file.json'));
  const grpc = new GrpcClient(server.grpcPorts.inference, server.grpcPorts.management);

  const withKeys = <Call extends Pick<RecordedCall, 'metadata'>>(call: Call): Call => {
    const metadata = call.metadata?.map(([name, value]) => [name, keys.fill(value)] as const);
    return { ...call, ...(metadata && { metadata }) };
  };

  async function send(request: RecordedRequest, limitMs?: number): Promise<ReceivedResponse> {
    const port = server.ports[request.port];
    if (port === undefined) throw new Error(`The server has no ${request.port} port.`);
    const headers = request.headers?.map(([name, value]) => [name, keys.fill(value)] as const);
    const bytes = bytesOf({ ...request, ...(headers && { headers }) }, values);
    const { text } = await exchange(port, bytes, 'latin1', limitMs);
    const answer = parseResponse(text);
    return { ...answer, body: scrub(answer.body, values) };
  }

  async function untilReady(record: RecordedHttp): Promise<void> {
    const giveUpAt = performance.now() + READY_LIMIT_MS;
    const headers = [HOST, ...(record.request.headers ?? [])];
    for (;;) {
      const { status, body } = await send({ ...record.request, headers });
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
            for (const request of UNRECORDED[`${record.run}/${record.name}`] ?? []) await send(request);
            answers.set(
              record,
              record.kind === 'grpc'
                ? await grpc.call(withKeys(record.request), CALL_DEADLINES_MS[record.name])
                : await send(record.request, record.response.noResponse === true ? SILENCE_MS : undefined),
            );
          }),
        );
      }
      return answers;
    },
    async close() {
      grpc.close();
      await server.close();
      await cleanUp();
    },
  };
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
  if (bodyFile !== undefined) return readFileSync(new URL(bodyFile, GOLDENS));
  if (bodyBase64 !== undefined) return Buffer.from(bodyBase64, 'base64');
  if (bodyRepeat !== undefined) return Buffer.from(bodyRepeat[0].repeat(bodyRepeat[1]));
  return Buffer.from(body ?? '');
}

function scrub(
  text: string,
  { MODEL_STORE = '', LAB = '', WEB_PORT = '' }: Readonly<Record<string, string>>,
): string {
  return text
    .replaceAll(MODEL_STORE, '${MODEL_STORE}')
    .replaceAll(LAB, '${LAB}')
    .replaceAll(`127.0.0.1:${WEB_PORT}/`, '127.0.0.1:${WEB_PORT}/')
    .replaceAll(`ostname="${hostname()}"`, 'ostname="${HOSTNAME}"');
}
