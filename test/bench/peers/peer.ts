import { writeFileSync } from 'node:fs';
import type { BenchModel } from './models.js';

/** What a request to a server looks like, and how its answer is read. */
export interface PeerRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** The body in a few words, for the table. */
  readonly says: string;
  /** The output numbers of an answer. */
  readonly read: (answer: Buffer) => ArrayLike<number>;
}

/** How to start a server of one model. */
export interface Launch {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly request: PeerRequest;
  /**
   * Of a server in JavaScript: the path of a stand-in of the model (or of the model, if it is as fast) to warm up on, and
   * what removes it once all is measured.
   */
  readonly standIn?: { readonly path: string; readonly remove?: () => Promise<unknown> };
}

/** Where a server runs. */
export interface Place {
  readonly port: number;
  /** Ports for what else a server listens on. */
  readonly sparePorts: readonly [number, number, number];
  /** An empty folder of this server. */
  readonly folder: string;
}

/** What a launch is told. */
export interface Job extends Place {
  readonly model: BenchModel;
  /** An answer that the limit F sends. */
  readonly answer: Buffer;
}

/** A server of the comparison. */
export interface Peer {
  readonly id: string;
  readonly title: string;
  /** Versions and settings, for the list under the tables. */
  readonly about: string;
  /** `ours` counts for the limits; `ours, apart` is reported in a line of its own; `limit` is no server. */
  readonly kind: 'peer' | 'ours' | 'ours, apart' | 'limit';
  /** How often a cold start is timed; 1 by default. */
  readonly coldStarts?: number;
  /** At least so many processes must run, or it is not what it says. */
  readonly processes?: number;
  /** Installs what is missing. */
  setup?(): void;
  launch(job: Job): Launch;
}

/** Raw float32 answers. */
export function readFloats(answer: Buffer): Float32Array {
  return new Float32Array(Uint8Array.from(answer).buffer);
}

/** Answers `{ "data": [...] }`. */
export function readData(answer: Buffer): number[] {
  return (JSON.parse(answer.toString('utf8')) as { data: number[] }).data;
}

/** Answers of the open inference protocol in JSON: the first output. */
export function readOutputs(answer: Buffer): number[] {
  const { outputs } = JSON.parse(answer.toString('utf8')) as { outputs: { data: number[] }[] };
  return outputs[0]?.data ?? [];
}

/** Values of config.properties by key. */
export type Properties = Readonly<Record<string, string | number | boolean>>;

/** Writes config.properties into a folder. @returns its path */
export function writeProperties(folder: string, properties: Properties): string {
  const lines = Object.entries(properties).map(([key, value]) => `${key}=${value}\n`);
  writeFileSync(`${folder}/config.properties`, lines.join(''));
  return `${folder}/config.properties`;
}
