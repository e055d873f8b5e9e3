/** From the start of the server's process to its first answer, beside TorchServe's where it is installed. See main.ts. */
import { existsSync } from 'node:fs';
import { PEERS_FOLDER } from './peers/folders.js';
import { marlineThreads } from './peers/peers/marline.js';
import { torchserve } from './peers/peers/torchserve.js';
import type { BenchResult } from './suite/result.js';
import { ROUNDS, Samples, chosenModels, interleave } from './suite/rounds.js';
import { startStandalone } from './suite/standalone.js';

const NAMES = ['mlp', 'resnet50'];

export default async function coldStart(): Promise<BenchResult> {
  const models = chosenModels(NAMES);
  const installed = existsSync(`${PEERS_FOLDER}torchserve/bin/torchserve`);
  const servers = installed ? [marlineThreads, torchserve] : [marlineThreads];
  const pairs = models.flatMap((model) => servers.map((peer) => ({ model, peer })));
  const samples = new Samples();
  await interleave(pairs, async ({ model, peer }) => {
    const { server, startMs } = await startStandalone(peer, model);
    samples.add(`${model.name} ${peer.id}`, startMs / 1000);
    await server.stop();
  });
  return {
    name: 'cold-start',
    title: 'Cold start',
    method: [
      'From the start of the process to its first 200 answer to a prediction, in seconds; asked again every 20 ms. Files are in the',
      'page cache, the cache of shared weights is empty, the archive is packed before.',
      ...(installed ? [] : ['TorchServe is not installed here; `npm run bench -- peers` installs it.']),
    ],
    rounds: ROUNDS,
    aims: [],
    tables: [
      {
        columns: ['', ...models.map(({ title }) => title)],
        rows: servers.map(({ id, title }) => ({
          title,
          cells: models.map(({ name }) => samples.of(`${name} ${id}`)),
        })),
      },
    ],
  };
}
