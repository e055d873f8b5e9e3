import { fileURLToPath } from 'node:url';
import type { HandlerMetric, MarlineError } from '#libs/common';
import { PythonWorker, type PythonWorkerOptions } from '#libs/python';
import { CollectingSink, textItem } from '../support/collecting-sink.js';

/** What a worker of these tests loads: a file of `handlers/`. */
export interface Script {
  readonly handler: string;
  readonly gpuId?: number;
}

export type ScriptWorker = PythonWorker<Script, string>;
export type ScriptOptions = Partial<PythonWorkerOptions<Script, string>>;

export const handlersDir = fileURLToPath(new URL('handlers', import.meta.url));

/** Real Python workers, and what they told on their own account. */
export class ScriptWorkers {
  readonly exits: MarlineError[] = [];
  readonly logs: string[] = [];
  readonly metrics: HandlerMetric[] = [];
  readonly #made: ScriptWorker[] = [];

  constructor(readonly python: string) {}

  make(options: ScriptOptions = {}): ScriptWorker {
    const worker = new PythonWorker<Script, string>({
      id: 9000 + this.#made.length,
      events: {
        exited: (error) => this.exits.push(error),
        metric: (metric) => this.metrics.push(metric),
        log: (level, text) => this.logs.push(`${level} ${text}`),
      },
      interpreter: this.python,
      archiveDir: handlersDir,
      env: [],
      socket: 'unix',
      decodeInputRequest: false,
      startTimeoutMs: 60_000,
      maxResponseSize: 6_553_500,
      info: 'ready',
      loadRequest: ({ handler, gpuId = null }) => ({
        modelName: 'script',
        modelDir: handlersDir,
        batchSize: 8,
        handler,
        gpuId,
        envelope: '',
        limitMaxImagePixels: true,
      }),
      ...options,
    });
    this.#made.push(worker);
    return worker;
  }

  async start(options: ScriptOptions = {}, script: Partial<Script> = {}): Promise<ScriptWorker> {
    const worker = this.make(options);
    const outcome = await worker.start({ handler: 'script_handler.py', ...script });
    if (outcome.kind !== 'ready') throw outcome.error;
    return worker;
  }

  /** Ends all, and forgets what they told. */
  async end(): Promise<void> {
    await Promise.all(
      this.#made.splice(0).map((worker) => {
        worker.kill();
        return worker.stop();
      }),
    );
    this.exits.length = this.logs.length = this.metrics.length = 0;
  }
}

/** Runs one batch with these bodies and returns its answers. */
export async function ask(worker: ScriptWorker, ...bodies: string[]) {
  const items = bodies.map((body) => textItem(body));
  const sink = new CollectingSink();
  await worker.run(items, sink);
  return { items, sink, answers: items.map(({ id }) => sink.answer(id)) };
}

/** False once no process has this id any more. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
