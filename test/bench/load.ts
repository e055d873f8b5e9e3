/**
 * A closed-loop client in a process of its own, so that it does not share the server's event loop.
 * Usage: load.ts URL CONNECTIONS SECONDS [BODY_FILE] [PROBE_URL]; prints one JSON line.
 */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const [url = '', connections = '8', seconds = '5', bodyFile = '', probeUrl = ''] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
const body = bodyFile === '' ? undefined : readFileSync(bodyFile);

function ask(target: string, payload?: Buffer): Promise<{ status: number; ms: number }> {
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const outgoing = request(
      target,
      {
        agent,
        method: payload ? 'POST' : 'GET',
        headers: payload
          ? { 'content-type': process.env['CONTENT_TYPE'] ?? 'image/jpeg', 'content-length': payload.length }
          : {},
      },
      (response) => {
        response.resume();
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, ms: performance.now() - startedAt }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(payload);
  });
}

const endAt = performance.now() + Number(seconds) * 1000;
const requests: number[] = [];
const probes: number[] = [];
let errors = 0;

async function connection(): Promise<void> {
  while (performance.now() < endAt) {
    const { status, ms } = await ask(url, body);
    if (status === 200) requests.push(ms);
    else errors++;
  }
}

/** Open loop: one probe every 10 ms, whether or not the last one was answered. */
async function probe(): Promise<void> {
  const waiting: Promise<void>[] = [];
  while (performance.now() < endAt) {
    waiting.push(ask(probeUrl).then(({ ms }) => void probes.push(ms)));
    await sleep(10);
  }
  await Promise.all(waiting);
}

function quantiles(values: number[]): { p50: number; p99: number; max: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

const jobs = url === '' ? [] : Array.from({ length: Number(connections) }, connection);
if (probeUrl !== '') jobs.push(probe());
await Promise.all(jobs);
agent.destroy();
console.log(
  JSON.stringify({
    requests: requests.length,
    errors,
    perSecond: requests.length / Number(seconds),
    latency: quantiles(requests),
    probe: quantiles(probes),
  }),
);
