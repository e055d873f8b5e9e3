import { readFileSync } from 'node:fs';
import type { RecordedCall } from '../support/grpc-client.js';
import type { HttpResponse } from '../support/http-exchange.js';

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

/** A configuration of a run of the real TorchServe. */
export interface RecordedConfig {
  readonly properties: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files of the run's own folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Where the records lie, with the files that they name. */
export const GOLDENS = new URL('goldens/', import.meta.url);

export function readRecords(file: string): Recorded[] {
  const lines = readFileSync(new URL(file, GOLDENS), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Recorded);
}

export function readConfig(name: string): RecordedConfig {
  const configs = JSON.parse(readFileSync(new URL('configs.json', GOLDENS), 'utf8')) as Record<
    string,
    RecordedConfig
  >;
  const config = configs[name];
  if (config === undefined) throw new Error(`configs.json has no configuration ${name}.`);
  return config;
}
