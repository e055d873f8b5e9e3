/**
 * Marline beside its peers and the two limits, in one run: sets up what is missing, starts all servers of a model, compares
 * their answers, measures them by turns, and writes docs/performance.md. `report` writes it again from the last results.
 *
 *   npm run bench -- peers [-- report]
 *
 * ROUNDS (10), SECONDS (at 8 connections; about 1.2), MODELS and PEERS (names, separated by commas) select; RESUME=1 takes
 * up an interrupted run.
 */
import { describeMachine } from './machine.js';
import { MODELS, ensureModels } from './models.js';
import { PEERS } from './peers/all.js';
import { writeReport } from './report.js';
import { clearResults, readResults, record } from './results.js';
import { measureModel } from './rounds.js';

const ROUNDS = Number(process.env['ROUNDS'] ?? 10);
const SECONDS = process.env['SECONDS'];

/** Those of a list that the variable names, or all. */
function chosen<T>(variable: string, all: readonly T[], nameOf: (item: T) => string): readonly T[] {
  const names = process.env[variable]?.split(',');
  const unknown = names?.filter((name) => !all.some((item) => nameOf(item) === name)) ?? [];
  if (unknown.length > 0) {
    throw new Error(
      `${variable}: there is no ${unknown.join(', ')}; there are ${all.map(nameOf).join(', ')}.`,
    );
  }
  return names === undefined ? all : all.filter((item) => names.includes(nameOf(item)));
}

async function measure(): Promise<void> {
  const models = chosen('MODELS', MODELS, ({ name }) => name);
  const peers = chosen('PEERS', PEERS, ({ id }) => id);
  const machine = describeMachine();
  for (const peer of peers) peer.setup?.();
  ensureModels(models);
  if (process.env['RESUME'] !== '1') clearResults();
  record({ type: 'run', startedAt: new Date().toISOString(), machine });
  for (const model of models) {
    const done = readResults().filter((result) => result.type === 'round' && result.model === model.name);
    const from = done.length;
    if (from >= ROUNDS) continue;
    await measureModel({ model, peers, from, to: ROUNDS, seconds: Number(SECONDS ?? model.seconds) });
  }
}

if (process.argv[2] !== 'report') await measure();
await writeReport(readResults());
