/**
 * The load generator of `marline bench` in a process of its own: closed loops, and open loops whose latencies count from when a
 * request was due. A child of gateway.ts and overload.ts, which tell it what to send.
 */
import { readFileSync } from 'node:fs';
import { arrivalTimes, seededRandom, type Arrivals } from '../../src/load/arrivals.js';
import type { Outcome } from '../../src/load/connection.js';
import { HttpTransport, type Transport } from '../../src/load/http-transport.js';
import { runLoad } from '../../src/load/load-run.js';
import { loadTarget } from '../../src/load/load-target.js';
import { Pacer, liveClock } from '../../src/load/pacer.js';
import { obey } from './suite/commands.js';

/** A request: POST with the body of a file, GET without one. */
export interface LoadRequest {
  readonly url: string;
  readonly bodyFile?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ClosedOrder {
  readonly request: LoadRequest;
  readonly clients: number;
  readonly seconds: number;
}

/** What a closed loop did; answers other than 2xx count as failed. */
export interface ClosedLoad {
  readonly perSecond: number;
  readonly p50: number;
  readonly failed: number;
}

/** Requests at these rates, one phase after the other. */
export interface OpenOrder {
  readonly request: LoadRequest;
  readonly arrivals: Arrivals;
  readonly phases: readonly { readonly perSecond: number; readonly seconds: number }[];
}

/** Every request of an open loop, in the order in which they were due; times in milliseconds. */
export interface OpenLoad {
  /** From the start of the loop. */
  readonly dueAt: Float64Array;
  /** From when it was due to its answer; NaN without one. */
  readonly latency: Float64Array;
  /** How much later than due it was sent. */
  readonly late: Float64Array;
  /** The answer's status; 0 without one. */
  readonly status: Uint16Array;
}

const MAX_CONNECTIONS = 4000;
const TIMEOUT_MS = 30_000;
const SEED = 4;

obey({}, { closed, open }, async () => {});

async function closed({ request, clients, seconds }: ClosedOrder): Promise<ClosedLoad> {
  const transport = new HttpTransport(targetOf(request), { maxConnections: clients, timeoutMs: TIMEOUT_MS });
  const measured = await runLoad({
    shape: { kind: 'closed', clients },
    warmupMs: 0,
    durationMs: seconds * 1000,
    transport,
    clock: liveClock,
  });
  transport.close();
  const answered = Object.entries(measured.statuses).filter(([status]) => status.startsWith('2'));
  const good = answered.reduce((sum, [, count]) => sum + count, 0);
  return {
    perSecond: measured.throughput,
    p50: measured.latencyMs?.p50 ?? Number.NaN,
    failed: measured.due - good,
  };
}

async function open({ request, arrivals, phases }: OpenOrder): Promise<OpenLoad> {
  const inner = new HttpTransport(targetOf(request), {
    maxConnections: MAX_CONNECTIONS,
    timeoutMs: TIMEOUT_MS,
  });
  const dueAt = Float64Array.from(schedule(phases, arrivals));
  const latency = new Float64Array(dueAt.length).fill(Number.NaN);
  const late = new Float64Array(dueAt.length).fill(Number.NaN);
  const status = new Uint16Array(dueAt.length);
  let sent = 0;
  const startedAt = liveClock.now();
  const since = (index: number) => liveClock.now() - startedAt - (dueAt[index] ?? 0);
  const settle = (index: number, outcome: Outcome) => {
    if (outcome.kind === 'failure') return;
    latency[index] = since(index);
    status[index] = outcome.status;
  };
  // Requests are sent in the order in which they are due.
  const transport: Transport = {
    send(done) {
      const index = sent;
      const accepted = inner.send((outcome) => {
        settle(index, outcome);
        done(outcome);
      });
      if (accepted) late[sent++] = since(index);
      return accepted;
    },
  };
  const pacer = new Pacer();
  await runLoad({
    shape: { kind: 'open', arrivals: forever(dueAt) },
    warmupMs: 0,
    durationMs: phases.reduce((sum, { seconds }) => sum + seconds * 1000, 0),
    transport,
    clock: liveClock,
    pacer,
  });
  inner.close();
  await pacer.close();
  return { dueAt, latency, late, status };
}

function targetOf({ url, bodyFile, headers = {} }: LoadRequest) {
  const { 'content-type': contentType = '', ...own } = headers;
  const payloads = bodyFile === undefined ? [] : [{ contentType, body: readFileSync(bodyFile) }];
  const lines = Object.entries(own).map(([name, value]) => `${name}: ${value}`);
  return loadTarget(new URL(url), payloads, lines);
}

function* schedule(phases: OpenOrder['phases'], arrivals: Arrivals): Generator<number> {
  const random = seededRandom(SEED);
  let from = 0;
  for (const { perSecond, seconds } of phases) {
    for (const at of arrivalTimes(arrivals, perSecond, random)) {
      if (at >= seconds * 1000) break;
      yield from + at;
    }
    from += seconds * 1000;
  }
}

/** An open loop asks for one time more than it needs. */
function* forever(times: Float64Array): Generator<number, number, undefined> {
  yield* times;
  for (;;) yield Number.POSITIVE_INFINITY;
}
