import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpuSeconds, signalTree, treeOf } from '../peers/process-tree.js';
import type { Order, Reply } from './commands.js';
import { compile } from './compile.js';

const STOP_LIMIT_MS = 30_000;

/** A program of the benchmark in a process of its own, which does what it is told. */
export class Child {
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  #next = 0;
  #url = '';

  private constructor(private readonly process: ChildProcess) {
    process.on('message', ({ id, result, error }: Reply) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error));
    });
    process.once('exit', (code, signal) => {
      for (const waiting of this.#waiting.values())
        waiting.reject(new Error(`The process of the benchmark ended (${signal ?? code}).`));
    });
  }

  /**
   * Starts a program of this folder; resolves when it is ready.
   * @param options what it gets as JSON in its first argument
   */
  static async start(program: string, options: object, execArgv: readonly string[] = []): Promise<Child> {
    const child = new Child(
      // A session of its own, by which its processes are found.
      fork(await compile(program), [JSON.stringify(options)], {
        detached: true,
        execArgv: [...execArgv],
        serialization: 'advanced',
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: { ...process.env, NODE_ENV: 'production' },
      }),
    );
    child.#url = (await child.#answer<{ url?: string }>(0)).url ?? '';
    return child;
  }

  /** Where it listens; empty when it is no server. */
  get url(): string {
    return this.#url;
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  pids(): number[] {
    return treeOf(this.pid);
  }

  /** User and system time of all its processes so far, in seconds. */
  cpuSeconds(): number {
    return cpuSeconds(this.pids());
  }

  ask<Result>(name: string, argument?: unknown): Promise<Result> {
    const order: Order = { id: ++this.#next, name, argument };
    this.process.send(order);
    return this.#answer(order.id);
  }

  /** Lets it end, by force when that takes too long. */
  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    this.process.disconnect();
    const timer = setTimeout(() => signalTree(this.pids(), 'SIGKILL'), STOP_LIMIT_MS);
    await exited;
    clearTimeout(timer);
  }

  async #answer<Result>(id: number): Promise<Result> {
    const result = await new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
    return result as Result;
  }
}
