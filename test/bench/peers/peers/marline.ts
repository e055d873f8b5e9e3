import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { ROOT } from '../folders.js';
import { jsonBody, rawBytes, standInOf, type BenchModel } from '../models.js';
import {
  readFloats,
  readOutputs,
  writeProperties,
  type Launch,
  type Peer,
  type PeerRequest,
  type Place,
  type Properties,
} from '../peer.js';

const CLI = `${ROOT}dist/src/cli.js`;

/** How Marline's standalone server is started with two workers for each model, and with these lines of config.properties. */
export function marlineCommand(
  { port, sparePorts, folder }: Place,
  properties: Properties,
): Pick<Launch, 'command' | 'env' | 'cwd'> {
  const config = writeProperties(folder, {
    inference_address: `http://127.0.0.1:${port}`,
    management_address: `http://127.0.0.1:${sparePorts[0]}`,
    metrics_address: `http://127.0.0.1:${sparePorts[1]}`,
    grpc_inference_port: 0,
    grpc_management_port: 0,
    cache_dir: `${folder}/cache`,
    disable_token_authorization: true,
    default_workers_per_model: 2,
    ...properties,
  });
  return {
    command: [process.execPath, CLI, 'serve', '--ts-config', config],
    cwd: folder,
    env: { NODE_ENV: 'production' },
  };
}

/** Marline's standalone server with its defaults, two workers and no access log, plus these lines of model-config.yaml. */
function marline(peer: Omit<Peer, 'launch'>, modelConfig: string): Peer {
  return {
    ...peer,
    coldStarts: 3,
    launch({ model, port, sparePorts, folder }) {
      pack('model', model.file, folder, modelConfig);
      const standIn = standInOf(model);
      if (standIn !== undefined) pack('standin', standIn, folder, modelConfig);
      return {
        ...marlineCommand(
          { port, sparePorts, folder },
          {
            model_store: folder,
            load_models: standIn === undefined ? 'model.mar' : 'model.mar,standin.mar',
            enable_model_api: true,
            // Nor do those of its peers write one that can go without.
            log_format: 'none',
          },
        ),
        request: request(model),
        standIn:
          standIn === undefined
            ? { path: '/predictions/model' }
            : {
                path: '/predictions/standin',
                remove: () => fetch(`http://127.0.0.1:${sparePorts[0]}/models/standin`, { method: 'DELETE' }),
              },
      };
    },
  };
}

/** The default: a worker thread for each session. */
export const marlineThreads = marline(
  { id: 'marline', title: 'Marline', about: 'defaults, two worker threads, no access log', kind: 'ours' },
  '',
);

/** The same with batches whose size is learned. */
export const marlineAdaptive = marline(
  {
    id: 'marline-adaptive',
    title: 'Marline (adaptive)',
    about: '`batching: adaptive`, batches of up to 32 whose size is learned, two worker threads',
    kind: 'ours, apart',
  },
  'batchSize: 32\nmarline:\n  batching: adaptive\n',
);

/** The same in worker processes. */
export const marlineProcesses = marline(
  {
    id: 'marline-process',
    title: 'Marline (processes)',
    about: '`isolation: process`, two worker processes',
    kind: 'ours, apart',
    // The server, and a process for each worker.
    processes: 3,
  },
  'marline:\n  isolation: process\n',
);

/** The same on the main thread. */
export const marlineInline = marline(
  {
    id: 'marline-none',
    title: 'Marline (main thread)',
    about: '`isolation: none`, the main thread runs the model, as in naive Fastify; counts for no aim',
    kind: 'ours, apart',
  },
  'marline:\n  isolation: none\n',
);

function request(model: BenchModel): PeerRequest {
  if (model.body === 'json') {
    return {
      path: '/predictions/model',
      headers: { 'content-type': 'application/json' },
      body: jsonBody(model),
      says: 'JSON both ways',
      read: readOutputs,
    };
  }
  return {
    path: '/predictions/model',
    headers: { 'content-type': 'application/octet-stream', accept: 'application/octet-stream' },
    body: rawBytes(model),
    says: 'raw float32 both ways',
    read: readFloats,
  };
}

function pack(name: string, file: string, folder: string, modelConfig: string): void {
  const argv = [CLI, 'archive', '--model-name', name, '--version', '1.0', '--force', '--runtime', 'node'];
  argv.push('--serialized-file', file, '--handler', 'tensor', '--export-path', folder);
  argv.push('--archive-format', 'zip-store');
  if (modelConfig !== '') {
    writeFileSync(`${folder}/model-config.yaml`, modelConfig);
    argv.push('--config-file', `${folder}/model-config.yaml`);
  }
  const { status, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`marline archive failed: is dist built?\n${stderr}`);
}
