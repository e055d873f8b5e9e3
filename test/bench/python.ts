/** Python archives here and in the real TorchServe, and a converted one beside Python. See main.ts. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { SERVERS, peersFolder } from './peers/folders.js';
import { describeMachine } from './peers/machine.js';
import { marlineCommand } from './peers/peers/marline.js';
import { torchServeCommand, torchserve } from './peers/peers/torchserve.js';
import { cpuSeconds, memory } from './peers/process-tree.js';
import { freePorts } from './peers/rounds.js';
import { HttpServer, RawLoop, stopAll } from './peers/server.js';
import { venvProgram } from './peers/venv.js';
import { Workshop } from './suite/archives.js';
import { makePythonArchives, type PythonArchive } from './suite/python-archives.js';
import { pythonReport } from './suite/python-report.js';
import type { BenchResult } from './suite/result.js';
import { Samples, interleave, secondsOr } from './suite/rounds.js';

const CONNECTIONS = 8;
const SECONDS = secondsOr(1.5);
/** Java takes up to 20,000 requests until it is fast. */
const WARM_UP_SECONDS = 5;
/** After each sleep. */
const WAKE_UP_SECONDS = 0.7;
const SETTLE_MS = 50;
/** PyTorch takes all cores for each worker, and then workers wait for one another: figures scatter fivefold, in both servers. */
const ONE_THREAD = { OMP_NUM_THREADS: '1' };
const PYTHON = venvProgram('torchserve', 'python');

type ServerName = 'Marline' | 'TorchServe';

/** What is measured once a round. */
interface Way {
  measure(samples: Samples): Promise<void>;
}

export default function python(): Promise<BenchResult> {
  const { java } = describeMachine();
  torchserve.setup?.();
  return Workshop.use(async ({ folder }) => {
    const archives = await makePythonArchives(folder);
    const samples = new Samples();
    // One after the other: a second TorchServe would take the ports and sockets of the first.
    for (const together of archives) {
      try {
        const ways: Way[] = [];
        for (const archive of together) ways.push(...(await waysOf(archive)));
        await interleave(ways, (way) => way.measure(samples));
      } finally {
        await stopAll();
      }
    }
    return pythonReport(archives.flat(), samples, java);
  });
}

async function waysOf(archive: PythonArchive): Promise<Way[]> {
  const marline = await served('Marline', archive);
  switch (archive.name) {
    case 'echo':
    case 'mnist':
      return [marline, await served('TorchServe', archive), await handlerOf(archive)];
    case 'mnist-batched':
      // Alone a request waits for others, which says nothing of the handler.
      return [marline, await served('TorchServe', archive)];
    case 'mnist-onnx':
    case 'mnist-pixels':
    case 'mnist-pixels-onnx':
      return [marline];
  }
}

/** A server of one archive, which sleeps between its turns. */
async function served(name: ServerName, archive: PythonArchive): Promise<Way> {
  const folder = emptyFolder(`${archive.name}/${name}`);
  const [port, ...sparePorts] = await freePorts();
  const place = { port, sparePorts, folder };
  const properties = { model_store: archive.modelStore, load_models: archive.file };
  const command =
    name === 'Marline'
      ? marlineCommand(place, { ...properties, python: PYTHON })
      : torchServeCommand(place, properties);
  const env = { ...command.env, ...ONE_THREAD };
  const { server } = await HttpServer.start({ ...command, env, request: archive.request }, port, folder);
  const answer = await server.answer();
  if (!isDeepStrictEqual(answer, archive.expected))
    throw new Error(`${name} answers ${JSON.stringify(answer)} for ${archive.title}.`);
  const load = async (connections: number, seconds: number) => {
    const pids = server.pids();
    const before = cpuSeconds(pids);
    let cpu = 0;
    const measured = await server.load(connections, seconds, () => (cpu = cpuSeconds(pids) - before));
    if (measured.errors > 0)
      throw new Error(`${measured.errors} failed requests to ${name}, ${archive.title}: the run is void.`);
    return { ...measured, cpuMs: (cpu * 1000) / measured.requests };
  };
  await load(CONNECTIONS, WARM_UP_SECONDS);
  server.sleep();
  return {
    async measure(samples) {
      server.wake();
      await sleep(SETTLE_MS);
      await load(CONNECTIONS, WAKE_UP_SECONDS);
      const many = await load(CONNECTIONS, SECONDS);
      const one = await load(1, SECONDS);
      const add = (what: string, value: number) => samples.add(`${archive.name} ${name} ${what}`, value);
      add('per second', many.requests / many.seconds);
      add('cpu', many.cpuMs);
      add('p50', one.p50);
      add('pss', memory(server.pids()).pssMb);
      server.sleep();
    },
  };
}

/** The archive's handler as a worker calls it, without a server. */
async function handlerOf({ name, modelStore, file, request }: PythonArchive): Promise<Way> {
  const folder = emptyFolder(`${name}/handler`);
  writeFileSync(join(folder, 'body'), request.body);
  const program = ['env', ...Object.entries(ONE_THREAD).map((pair) => pair.join('=')), PYTHON, '-B'];
  program.push(`${SERVERS}handler_loop.py`, join(modelStore, file), join(folder, 'unpacked'));
  program.push(join(folder, 'body'), request.headers['content-type'] ?? '');
  const loop = await RawLoop.start(program, folder);
  await loop.load(1, WAKE_UP_SECONDS, () => {});
  loop.sleep();
  return {
    async measure(samples) {
      loop.wake();
      const { p50 } = await loop.load(1, SECONDS, () => {});
      samples.add(`${name} handler p50`, p50);
      loop.sleep();
    },
  };
}

function emptyFolder(name: string): string {
  const path = `work/python/${name}`;
  rmSync(peersFolder(path), { recursive: true });
  return peersFolder(path);
}
