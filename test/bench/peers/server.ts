import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { wrk, type Drained, type Load } from './load.js';
import type { Launch, PeerRequest } from './peer.js';
import { signalTree, treeOf } from './process-tree.js';

const START_LIMIT_MS = 180_000;
const STOP_LIMIT_MS = 15_000;

/** All that run, also those that still start. */
const running = new Set<Candidate>();
let mayStart = true;

/** From now on no server is started: what is under way may still try to while this program ends. */
export function startNoMore(): void {
  mayStart = false;
}

/** Ends every server that this program started. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((candidate) => candidate.stop()));
}

/** A running candidate, asleep (SIGSTOP) whenever it is not its turn. */
export abstract class Candidate {
  protected constructor(
    protected readonly child: ChildProcess,
    protected readonly log: string,
  ) {
    running.add(this);
  }

  /** The output for the one request of this run. */
  abstract answer(): Promise<ArrayLike<number>>;
  abstract load(connections: number, seconds: number, drained: Drained): Promise<Load>;

  /** Load on the stand-in of the model; nothing where there is none. */
  async warmUpOnStandIn(_connections: number, _seconds: number): Promise<void> {}

  async removeStandIn(): Promise<void> {}

  pids(): number[] {
    return treeOf(this.child.pid ?? 0);
  }

  sleep(): void {
    signalTree(this.pids(), 'SIGSTOP');
  }

  wake(): void {
    signalTree(this.pids(), 'SIGCONT');
  }

  /** Ends all its processes, by force when asking does not help. */
  async stop(): Promise<void> {
    const pids = this.pids();
    signalTree(pids, 'SIGCONT');
    const exited = this.child.exitCode === null && this.child.signalCode === null && once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await Promise.race([exited, sleep(STOP_LIMIT_MS, undefined, { ref: false })]);
    signalTree([...new Set([...pids, ...this.pids()])], 'SIGKILL');
    running.delete(this);
  }

  protected assertAlive(): void {
    if (this.child.exitCode === null && this.child.signalCode === null) return;
    throw new Error(`The server ended.\n${readFileSync(this.log, 'utf8').slice(-4000)}`);
  }
}

/** A server that is asked over HTTP. */
export class HttpServer extends Candidate {
  private readonly bodyFile: string;

  private constructor(
    child: ChildProcess,
    log: string,
    private readonly url: string,
    readonly request: PeerRequest,
    readonly standIn: Launch['standIn'],
    folder: string,
  ) {
    super(child, log);
    this.bodyFile = `${folder}/body`;
    writeFileSync(this.bodyFile, request.body);
  }

  /** Starts the server; resolves with its first good answer and the time it took, in milliseconds. */
  static async start(
    launch: Launch,
    port: number,
    folder: string,
  ): Promise<{ server: HttpServer; startMs: number }> {
    const startedAt = performance.now();
    const child = spawnQuietly(launch, `${folder}/log`, 'ignore');
    const server = new HttpServer(
      child,
      `${folder}/log`,
      `http://127.0.0.1:${port}${launch.request.path}`,
      launch.request,
      launch.standIn,
      folder,
    );
    try {
      for (;;) {
        server.assertAlive();
        if ((await server.ask().catch(() => undefined)) !== undefined) break;
        if (performance.now() - startedAt > START_LIMIT_MS) throw new Error(`No answer; see ${folder}/log`);
        await sleep(20);
      }
    } catch (error) {
      await server.stop();
      throw error;
    }
    return { server, startMs: performance.now() - startedAt };
  }

  async answer(): Promise<ArrayLike<number>> {
    const bytes = await this.ask();
    if (bytes === undefined) throw new Error(`${this.url} does not answer 200; see ${this.log}`);
    return this.request.read(bytes);
  }

  load(connections: number, seconds: number, drained: Drained): Promise<Load> {
    const { url, bodyFile, request } = this;
    return wrk(url, { connections, seconds, bodyFile, headers: request.headers, drained });
  }

  override async warmUpOnStandIn(connections: number, seconds: number): Promise<void> {
    if (this.standIn === undefined) return;
    const url = new URL(this.standIn.path, this.url).href;
    const { bodyFile, request } = this;
    const load = await wrk(url, {
      connections,
      seconds,
      bodyFile,
      headers: request.headers,
      drained: () => {},
    });
    if (load.errors > 0)
      throw new Error(`${url} answered ${load.errors} of ${load.requests} requests with an error.`);
  }

  override async removeStandIn(): Promise<void> {
    await this.standIn?.remove?.();
  }

  private async ask(): Promise<Buffer | undefined> {
    const { headers, body } = this.request;
    const response = await fetch(this.url, { method: 'POST', headers, body: Uint8Array.from(body) });
    const bytes = Buffer.from(await response.arrayBuffer());
    return response.status === 200 ? bytes : undefined;
  }
}

/** The limit R: no server, told over its standard input what to do. */
export class RawLoop extends Candidate {
  private readonly lines: Interface;

  private constructor(child: ChildProcess, log: string) {
    super(child, log);
    this.lines = createInterface({ input: child.stdout! });
  }

  static async start(command: readonly string[], folder: string): Promise<RawLoop> {
    const request = { path: '', headers: {}, body: Buffer.alloc(0), says: '', read: () => [] };
    const loop = new RawLoop(spawnQuietly({ command, request }, `${folder}/log`, 'pipe'), `${folder}/log`);
    await loop.next();
    return loop;
  }

  async answer(): Promise<number[]> {
    return (await this.tell<{ output: number[] }>({ answer: true })).output;
  }

  async load(connections: number, seconds: number, drained: Drained): Promise<Load> {
    const load = await this.tell<Load>({ workers: Math.min(connections, 2), seconds });
    drained(0);
    return load;
  }

  override async stop(): Promise<void> {
    this.wake();
    this.child.stdin?.end();
    await super.stop();
  }

  private tell<T>(message: object): Promise<T> {
    this.child.stdin?.write(`${JSON.stringify(message)}\n`);
    return this.next() as Promise<T>;
  }

  private async next(): Promise<unknown> {
    const ended = once(this.child, 'exit').then(() => this.assertAlive());
    const [line] = (await Promise.race([once(this.lines, 'line'), ended])) as [string];
    return JSON.parse(line) as unknown;
  }
}

function spawnQuietly({ command, env, cwd }: Launch, log: string, talk: 'ignore' | 'pipe'): ChildProcess {
  if (!mayStart) throw new Error('Servers are being ended.');
  const output = openSync(log, 'w');
  const [program = '', ...argv] = command;
  // A session of its own: that is how its processes are found, and a Ctrl-C reaches this program alone.
  const child = spawn(program, argv, {
    detached: true,
    cwd,
    env: { ...process.env, ...env },
    stdio: [talk, talk === 'pipe' ? 'pipe' : output, output],
  });
  closeSync(output);
  return child;
}
