import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RunningServer } from '../../src/server.js';
import { CLI } from '../support/built.js';

/** Addresses on free ports of this machine, where nobody is asked for tokens, for {@link MarlineProcess}. */
export const FREE_PORTS = {
  MARLINE_INFERENCE_ADDRESS: 'http://127.0.0.1:0',
  MARLINE_MANAGEMENT_ADDRESS: 'http://127.0.0.1:0',
  MARLINE_METRICS_ADDRESS: 'http://127.0.0.1:0',
  MARLINE_DISABLE_TOKEN_AUTHORIZATION: 'true',
};

/** They lose against all else that says where gRPC listens. */
export const FREE_GRPC_PORTS = { MARLINE_GRPC_INFERENCE_PORT: '0', MARLINE_GRPC_MANAGEMENT_PORT: '0' };

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The port of a server inside this process. */
export function portOf({ addresses }: RunningServer, plane: 'inference' | 'management' | 'metrics'): number {
  const address = addresses[plane];
  if (address === undefined || !('port' in address)) throw new Error(`${plane} has no port.`);
  return address.port;
}

/** Packs the sample models of `npm start` into a folder. */
export async function packSamples(folder: string): Promise<void> {
  const script = `${root}test/support/pack-sample-models.mjs`;
  await promisify(execFile)(process.execPath, [script, folder]);
}

/** Resolves when these models are ready; rejects with the server's own report when one is not within the time limit. */
export async function readiness(
  inference: string,
  models: readonly string[],
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (const model of models) {
    for (;;) {
      const response = await fetch(`${inference}/health/models/${model}`);
      if (response.ok) break;
      if (Date.now() > deadline) throw new Error(`${model} is not ready: ${await response.text()}`);
      await delay(50);
    }
  }
}

/** `marline` as a process of its own, from the build. */
export class MarlineProcess {
  output = '';
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | NodeJS.Signals>;

  /** @param args the command line, such as `['serve', '--model-store', 'models']` */
  constructor(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    this.#child = spawn(process.execPath, [CLI, ...args], {
      cwd: options.cwd ?? root,
      env: { ...process.env, NODE_OPTIONS: '', NO_COLOR: '1', ...FREE_GRPC_PORTS, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.#child.stderr!.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    this.#exited = once(this.#child, 'close').then(
      ([code, signal]) => (code ?? signal) as number | NodeJS.Signals,
    );
  }

  /** Resolves when the server says that it has started; rejects with its output when it ends before. */
  async started(): Promise<this> {
    const ended = this.#exited.then((code) => {
      throw new Error(`The server ended with ${code}:\n${this.output}`);
    });
    await Promise.race([ended, this.printed('Model server started.')]);
    return this;
  }

  /** Resolves when the output contains `text`. */
  async printed(text: string): Promise<void> {
    while (!this.output.includes(text)) await once(this.#child.stdout!, 'data');
  }

  /** The address that a listener was given: `Inference`, `Management` or `Metrics`. */
  address(listener: 'Inference' | 'Management' | 'Metrics'): string {
    const match = new RegExp(`${listener} API bind to: ((?:https?://|unix:)\\S+)`).exec(this.output);
    if (match === null) throw new Error(`No ${listener} listener in:\n${this.output}`);
    return match[1]!;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves with the exit code, or the signal that ended it. */
  exited(): Promise<number | NodeJS.Signals> {
    return this.#exited;
  }

  /** Ends it, gently unless it has ended. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.signal('SIGTERM');
    return this.#exited;
  }
}
