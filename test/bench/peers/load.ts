import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { cpuSeconds } from './process-tree.js';

/** What a stretch of load did: latencies in milliseconds, time from the first request to the last answer. */
export interface Load {
  readonly requests: number;
  readonly seconds: number;
  readonly errors: number;
  readonly p50: number;
  readonly p99: number;
}

/** Called when the last answer is in, with the CPU seconds of the load generator. */
export type Drained = (generatorCpu: number) => void;

const GENERATOR = 'wrk';

/** How much longer than asked for a load may take: what waits in a queue is still answered. */
const DRAIN_MS = 30_000;

/**
 * A closed loop of wrk with one thread.
 * @throws Error when wrk fails or the server leaves requests without an answer
 */
export async function wrk(
  url: string,
  {
    connections,
    seconds,
    bodyFile,
    headers,
    drained,
  }: {
    readonly connections: number;
    readonly seconds: number;
    readonly bodyFile: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly drained: Drained;
  },
): Promise<Load> {
  const script = fileURLToPath(new URL('./load.lua', import.meta.url));
  const argv = ['-t1', `-c${connections}`, '-d3600', '--timeout', '60', '-s', script, url, '--'];
  argv.push(String(seconds), String(connections), bodyFile, ...Object.entries(headers).flat());
  const child = spawn(GENERATOR, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGINT'), seconds * 1000 + DRAIN_MS);
  let text = '';
  let complete = false;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (complete || !text.includes('drained\n')) return;
    complete = true;
    drained(cpuSeconds([child.pid ?? 0]));
    child.kill('SIGINT');
  });
  await once(child, 'close');
  clearTimeout(timer);
  const line = text.split('\n').findLast((line) => line.startsWith('{'));
  if (!complete || line === undefined) throw new Error(`Requests to ${url} got no answer.\n${text}`);
  return JSON.parse(line) as Load;
}
