import { describe, expect, it } from 'vitest';
import { ManualClock } from '#libs/common';
import { arrivalTimes } from './arrivals.js';
import type { Outcome } from './connection.js';
import type { Transport } from './http-transport.js';
import { runLoad, type LoadRunOptions } from './load-run.js';

/** A server that works on one request at a time. */
class SerialServer implements Transport {
  underWay = 0;
  mostUnderWay = 0;
  sent = 0;
  #freeAt = 0;

  constructor(
    private readonly clock: ManualClock,
    private readonly options: {
      readonly connections?: number;
      /** Milliseconds that a request takes which is begun at that time. */
      readonly serviceMs: (at: number) => number;
      readonly outcome?: (at: number) => Outcome;
    },
  ) {}

  send(done: (outcome: Outcome) => void): boolean {
    const { connections = Infinity, serviceMs, outcome = () => OK } = this.options;
    if (this.underWay >= connections) return false;
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    this.sent++;
    const beginAt = Math.max(this.clock.now(), this.#freeAt);
    this.#freeAt = beginAt + serviceMs(beginAt);
    this.clock.after(this.#freeAt - this.clock.now(), () => {
      this.underWay--;
      done(outcome(this.clock.now()));
    });
    return true;
  }
}

const OK: Outcome = { kind: 'answer', status: 200 };
const FAILED: Outcome = { kind: 'failure', failure: 'connect', detail: 'ECONNREFUSED' };

/** Stalls for 500 ms, once, five seconds into the run. */
const stallingOnce = (at: number) => (at >= 5000 && at < 5010 ? 500 : 1);

async function run(
  clock: ManualClock,
  transport: Transport,
  options: Partial<LoadRunOptions> & Pick<LoadRunOptions, 'shape'>,
  totalMs = 60_000,
) {
  const result = runLoad({ warmupMs: 0, durationMs: 10_000, clock, transport, ...options });
  clock.advance(totalMs);
  return result;
}

const constant = (rate: number) =>
  ({ kind: 'open', arrivals: arrivalTimes('constant', rate, Math.random) }) as const;

describe('runLoad, open loop', () => {
  it.each([1, 100])(
    'charges a stall to every request that was due meanwhile, with %d connections',
    async (connections) => {
      const clock = new ManualClock();
      const server = new SerialServer(clock, { connections, serviceMs: stallingOnce });
      const { latencyMs, due, unsent } = await run(clock, server, { shape: constant(100) });
      expect({ due, unsent }).toEqual({ due: 1000, unsent: 0 });
      expect(latencyMs!.max).toBeCloseTo(500, 0);
      // The stall covers 5 % of the schedule: its latencies from 500 ms down to 0.
      expect(latencyMs!.p99).toBeGreaterThan(380);
      expect(latencyMs!.p95).toBeGreaterThan(1);
      expect(latencyMs!.p90).toBeLessThan(2);
    },
  );

  it('shows what a closed loop hides of the same stall', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, { serviceMs: stallingOnce });
    const { latencyMs } = await run(clock, server, { shape: { kind: 'closed', clients: 1 } });
    expect(latencyMs!.p999).toBeLessThan(2);
  });

  it('keeps the rate of a server that is too slow, and counts what could not be sent', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, { connections: 5, serviceMs: () => 20 });
    const result = await run(clock, server, { shape: constant(100), deadlineMs: 1000 });
    expect(result.due).toBe(1000);
    expect(result.throughput).toBeCloseTo(50, 0);
    expect(result.unsent).toBeGreaterThan(480);
    expect(result.statuses['200']! + result.unsent).toBe(1000);
    expect(server.mostUnderWay).toBe(5);
    expect(result.latencyMs!.max).toBeGreaterThan(4900);
    expect(result.goodput).toBeGreaterThan(9);
    expect(result.goodput).toBeLessThan(12);
  });

  it('measures only what is due after the warm-up', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, { serviceMs: (at) => (at < 1000 ? 9 : 1) });
    const result = await run(clock, server, { shape: constant(100), warmupMs: 1500, durationMs: 1000 });
    expect(server.sent).toBe(250);
    expect(result).toMatchObject({ due: 100, seconds: 1, statuses: { 200: 100 }, end: 'complete' });
    expect(result.latencyMs!.max).toBeLessThan(2);
  });

  it('waits for the answers to what was sent', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, { serviceMs: () => 30_000 });
    const result = await run(clock, server, { shape: constant(1), durationMs: 500 });
    expect(result).toMatchObject({ due: 1, unanswered: 0, throughput: 0, seconds: 0.5 });
    expect(result.latencyMs!.max).toBeCloseTo(30_000, -2);
  });

  it('tells refusals from answers', async () => {
    const clock = new ManualClock();
    const statuses = [200, 503, 429, 504, 404];
    const server = new SerialServer(clock, {
      serviceMs: () => 1,
      outcome: (at) => ({ kind: 'answer', status: statuses[Math.floor(at / 10) % 5]! }),
    });
    const result = await run(clock, server, { shape: constant(100), durationMs: 1000 });
    expect(result.statuses).toEqual({ 200: 20, 404: 20, 429: 20, 503: 20, 504: 20 });
    expect(result.throughput).toBe(20);
    expect([result.latencyMs!.count, result.refusalLatencyMs!.count]).toEqual([20, 40]);
  });
});

describe('runLoad, closed loop', () => {
  it('finds the capacity with so many clients', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, { serviceMs: () => 5 });
    const result = await run(clock, server, { shape: { kind: 'closed', clients: 8 }, warmupMs: 1000 });
    expect(server.mostUnderWay).toBe(8);
    expect(result.throughput).toBeCloseTo(200, 0);
    expect(result.latencyMs!.p50).toBeCloseTo(40, 0);
  });

  it('pauses a client whose request failed, and ends when the server is gone', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, {
      serviceMs: () => 0.1,
      outcome: (at) => (at < 2000 ? OK : FAILED),
    });
    const result = await run(clock, server, { shape: { kind: 'closed', clients: 1 } });
    expect(result.end).toBe('server gone');
    expect(result.failures).toMatchObject([{ failure: 'connect', example: 'ECONNREFUSED' }]);
    expect(result.failures[0]!.count).toBeLessThan(25);
    expect(result.seconds).toBeGreaterThan(2.9);
    expect(result.seconds).toBeLessThan(3.2);
  });

  it('does not give a server up that answers now and then', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, {
      serviceMs: () => 1,
      outcome: (at) => (Math.floor(at) % 900 < 60 ? OK : FAILED),
    });
    const result = await run(clock, server, { shape: { kind: 'closed', clients: 4 } });
    expect(result).toMatchObject({ end: 'complete', seconds: 10 });
  });

  it.each(['running', 'waiting for the last answers'])(
    'ends at once with the result so far when interrupted while %s',
    async (state) => {
      const clock = new ManualClock();
      const server = new SerialServer(clock, { serviceMs: (at) => (at < 3000 ? 10 : 1e6) });
      const interruption = new AbortController();
      const result = runLoad({
        shape: { kind: 'closed', clients: 1 },
        warmupMs: 1000,
        durationMs: 10_000,
        clock,
        transport: server,
        signal: interruption.signal,
      });
      clock.advance(state === 'running' ? 4000 : 20_000);
      interruption.abort();
      expect(await result).toMatchObject({
        end: 'interrupted',
        seconds: state === 'running' ? 3 : 10,
        unanswered: 1,
        statuses: { 200: 200 },
      });
    },
  );

  it('measures nothing when it is interrupted before it begins', async () => {
    const clock = new ManualClock();
    const server = new SerialServer(clock, { serviceMs: () => 1 });
    const result = await run(clock, server, { shape: constant(10), signal: AbortSignal.abort() });
    expect(result).toMatchObject({ end: 'interrupted', due: 0, throughput: 0, latencyMs: null, seconds: 0 });
    expect(server.sent).toBe(0);
  });
});
