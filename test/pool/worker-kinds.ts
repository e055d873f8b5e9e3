import type { HandlerMetric, MarlineError } from '#libs/common';
import {
  InlineWorker,
  ProcessWorker,
  ThreadWorker,
  type PoolWorker,
  type ProcessWorkerOptions,
  type ThreadWorkerOptions,
  type WorkerEvents,
} from '#libs/pool';
import { bundled } from '../support/built.js';
import { CollectingSink, textItem } from '../support/collecting-sink.js';
import { loadScript, type ScriptInfo, type ScriptModel } from './fixtures/script.js';

export const KINDS = ['thread', 'process', 'inline'] as const;
export type Kind = (typeof KINDS)[number];
export type ScriptWorker = PoolWorker<ScriptModel, ScriptInfo>;
export type ScriptOptions = Partial<ThreadWorkerOptions & ProcessWorkerOptions>;

export const entry = bundled(new URL('./fixtures/script.worker.ts', import.meta.url));

/** Workers of all kinds that run the script, and what they told on their own account. */
export class ScriptWorkers {
  readonly exits: MarlineError[] = [];
  readonly logs: string[] = [];
  readonly metrics: HandlerMetric[] = [];
  readonly #made: ScriptWorker[] = [];

  make(kind: Kind, options: ScriptOptions = {}): ScriptWorker {
    const events: WorkerEvents = {
      exited: (error) => this.exits.push(error),
      metric: (metric) => this.metrics.push(metric),
      log: (level, text) => this.logs.push(`${level} ${text}`),
    };
    const worker = makeWorker(kind, { id: 9000, events, startTimeoutMs: 30_000, ...options });
    this.#made.push(worker);
    return worker;
  }

  async start(kind: Kind, model: Partial<ScriptModel> = {}, options: ScriptOptions = {}) {
    const worker = this.make(kind, options);
    const outcome = await worker.start({ load: 'ok', ...model });
    if (outcome.kind !== 'ready') throw outcome.error;
    return { worker, info: outcome.info };
  }

  /** Ends all, and forgets what they told. */
  async end(): Promise<void> {
    await Promise.all(this.#made.splice(0).map((worker) => worker.stop()));
    this.exits.length = this.logs.length = this.metrics.length = 0;
  }
}

export function makeWorker(
  kind: Kind,
  options: ScriptOptions & { id: number; events: WorkerEvents; startTimeoutMs: number },
): ScriptWorker {
  switch (kind) {
    case 'thread':
      return new ThreadWorker({ entry, ...options });
    case 'process':
      return new ProcessWorker({ entry, ...options });
    case 'inline':
      return new InlineWorker({ load: loadScript, ...options });
  }
}

/** Runs one action per item and returns the answers. */
export async function ask(worker: ScriptWorker, ...actions: string[]) {
  const items = actions.map((action) => textItem(action));
  const sink = new CollectingSink();
  await worker.run(items, sink);
  return { sink, answers: items.map(({ id }) => sink.answer(id)) };
}
