import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { SERVERS, peersFolder } from './folders.js';
import { writeSpec, type BenchModel } from './models.js';
import type { Peer } from './peer.js';
import { cpuSeconds, machineCpu, memory } from './process-tree.js';
import { record } from './results.js';
import { HttpServer, RawLoop, startNoMore, stopAll, type Candidate } from './server.js';

/** The raw loop's name in the results. */
export const RAW = 'R';
/** The route's that answers a constant. */
export const FLOOR = 'F';
/** Connections of the measurements; CPU per request is read at the first. */
export const CONNECTIONS = [8, 1, 32] as const;

/** After each sleep. */
const WARM_UP_SECONDS = 0.25;
/** On a model that costs nothing: some ten thousand requests. */
const STAND_IN_SECONDS = 8;
/** After each sleep: V8 drops code that has not run for half a minute, which no server in use ever sees. */
const WAKE_UP_SECONDS = 1;
/** The first warm-up goes on in such stretches until two in a row cost hardly less CPU: Java takes up to 20,000 requests. */
const STRETCH = { seconds: 2, atMost: 10, better: 0.97 };
const SETTLE_MS = 50;
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** Answers may differ by so much of the largest number: another build of the same runtime may sum in another order. */
const TOLERANCE = 1e-3;

/** Which rounds to run for one model. */
export interface Plan {
  readonly model: BenchModel;
  readonly peers: readonly Peer[];
  /** The first and one more than the last round. */
  readonly from: number;
  readonly to: number;
  readonly seconds: number;
}

/** Starts every server of a model, compares their answers, then measures them in turns, forwards and backwards. */
export async function measureModel({ model, peers, from, to, seconds }: Plan): Promise<void> {
  const candidates = new Map<string, Candidate>();
  const work = async (): Promise<void> => {
    const loop = await startRawLoop(model);
    candidates.set(RAW, loop);
    const expected = await loop.answer();
    loop.sleep();
    for (const peer of peers) {
      const server = await startPeer(peer, model, expected).catch((error: Error) => {
        record({
          type: 'failure',
          model: model.name,
          peer: peer.id,
          reason: error.message.split('\n', 1)[0] ?? '',
        });
        process.stderr.write(`${model.name}: ${peer.title} is left out: ${error.message}\n`);
        return undefined;
      });
      if (server === undefined) continue;
      candidates.set(peer.id, server);
      await server.warmUpOnStandIn(CONNECTIONS[0], STAND_IN_SECONDS);
      await warmUp(server);
      server.sleep();
    }
    for (let round = from; round < to; round++) {
      const order = [...candidates].map(([id, candidate]) => ({ id, candidate }));
      for (const { id, candidate } of round % 2 === 0 ? order : order.toReversed()) {
        await measureRound(model, id, candidate, round, seconds);
      }
      record({ type: 'round', model: model.name, round });
      process.stderr.write(`${model.name}: round ${round + 1} of ${to}\n`);
    }
    for (const [id, candidate] of candidates) {
      candidate.wake();
      await candidate.removeStandIn();
      const pids = candidate.pids();
      record({ type: 'memory', model: model.name, peer: id, processes: pids.length, ...memory(pids) });
      candidate.sleep();
    }
  };
  // What has been started ends in any case: also when a signal ends this program.
  let interrupt = (): void => {};
  const interrupted = new Promise<never>((_, reject) => {
    interrupt = () => {
      startNoMore();
      reject(new Error('Interrupted; go on with RESUME=1.'));
    };
  });
  for (const signal of SIGNALS) process.once(signal, interrupt);
  try {
    await Promise.race([work(), interrupted]);
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, interrupt);
    await stopAll();
  }
}

async function startRawLoop(model: BenchModel): Promise<RawLoop> {
  const command = [process.execPath, `${SERVERS}raw-loop.mjs`, model.file, writeSpec(model)];
  return RawLoop.start(command, peersFolder(`work/${model.name}/raw`));
}

async function startPeer(peer: Peer, model: BenchModel, expected: readonly number[]): Promise<HttpServer> {
  const answer =
    model.body === 'binary'
      ? Buffer.from(Float32Array.from(expected).buffer)
      : Buffer.from(JSON.stringify({ data: expected }));
  const startMs: number[] = [];
  for (;;) {
    const folder = `work/${model.name}/${peer.id}`;
    rmSync(peersFolder(folder), { recursive: true });
    const [port, ...sparePorts] = await freePorts();
    const launch = peer.launch({ model, port, sparePorts, folder: peersFolder(folder), answer });
    const { server, startMs: took } = await HttpServer.start(launch, port, peersFolder(folder));
    startMs.push(took);
    if (startMs.length < (peer.coldStarts ?? 1)) {
      await server.stop();
      continue;
    }
    const difference = peer.id === FLOOR ? 0 : largestDifference(await server.answer(), expected);
    if (!(difference <= TOLERANCE)) {
      await server.stop();
      throw new Error(`Its answer differs from the raw loop's by ${difference} of the largest number.`);
    }
    const { processes = 1 } = peer;
    if (server.pids().length < processes) {
      await server.stop();
      throw new Error(`It runs fewer than ${processes} processes.`);
    }
    record({
      type: 'server',
      model: model.name,
      peer: peer.id,
      says: launch.request.says,
      startMs,
      difference,
    });
    return server;
  }
}

async function warmUp(server: Candidate): Promise<void> {
  const pids = server.pids();
  let best = Number.POSITIVE_INFINITY;
  let steady = 0;
  for (let stretch = 0; stretch < STRETCH.atMost && steady < 2; stretch++) {
    const before = cpuSeconds(pids);
    let used = 0;
    const { requests } = await server.load(CONNECTIONS[0], STRETCH.seconds, () => {
      used = cpuSeconds(pids) - before;
    });
    steady = used / requests > best * STRETCH.better ? steady + 1 : 0;
    best = Math.min(best, used / requests);
  }
}

async function measureRound(
  model: BenchModel,
  id: string,
  candidate: Candidate,
  round: number,
  seconds: number,
): Promise<void> {
  candidate.wake();
  await sleep(SETTLE_MS);
  await candidate.warmUpOnStandIn(CONNECTIONS[0], WAKE_UP_SECONDS);
  await candidate.load(CONNECTIONS[0], WARM_UP_SECONDS, () => {});
  for (const connections of CONNECTIONS) {
    const pids = candidate.pids();
    const before = { own: cpuSeconds(pids), machine: machineCpu(), at: performance.now() };
    let cpu = 0;
    let others = 0;
    let steal = 0;
    const load = await candidate.load(
      connections,
      connections === CONNECTIONS[0] ? seconds : seconds / 2,
      (generatorCpu) => {
        const elapsed = (performance.now() - before.at) / 1000;
        const { busy, steal: stolen } = machineCpu();
        cpu = cpuSeconds(pids) - before.own;
        others = Math.max(0, busy - before.machine.busy - cpu - generatorCpu) / elapsed;
        steal = (stolen - before.machine.steal) / elapsed;
      },
    );
    record({ type: 'measure', model: model.name, peer: id, round, connections, ...load, cpu, others, steal });
  }
  candidate.sleep();
}

function largestDifference(answer: ArrayLike<number>, expected: readonly number[]): number {
  if (answer.length !== expected.length) return Number.POSITIVE_INFINITY;
  const scale = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, at) => Math.abs(value - (answer[at] ?? Number.NaN)))) / scale;
}

/** Four ports that are free now. */
export async function freePorts(): Promise<[number, number, number, number]> {
  const servers = [0, 1, 2, 3].map(() => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports as [number, number, number, number];
}
