/** The standalone server in a process of its own, for models.ts. */
import 'reflect-metadata';
import { loadConfiguration } from '../../src/configuration.js';
import { startServer } from '../../src/server.js';
import { obey } from './suite/commands.js';
import { portOf } from '../standalone/server-process.js';

/** How the server is started. */
export interface ModelsServerOptions {
  /** Current folder of the server, with its snapshots. */
  readonly directory: string;
  readonly modelStore: string;
  readonly cacheDir: string;
  /** False is `--ncs`. */
  readonly snapshots: boolean;
}

const { directory, modelStore, cacheDir, snapshots } = JSON.parse(
  process.argv[2] ?? '',
) as ModelsServerOptions;
const anyPort = 'http://127.0.0.1:0';
const configuration = loadConfiguration({
  directory,
  environment: { LOG_LOCATION: directory },
  snapshots,
  commandLine: {
    model_store: modelStore,
    cache_dir: cacheDir,
    inference_address: anyPort,
    management_address: anyPort,
    metrics_address: anyPort,
    grpc_inference_port: '0',
    grpc_management_port: '0',
    enable_model_api: 'true',
    disable_token_authorization: 'true',
  },
});
const server = await startServer(configuration, [], false);

obey(
  { url: `http://127.0.0.1:${portOf(server, 'management')}` },
  // So that the memory is what the models hold, not what the collector has not looked at yet.
  { collect: () => globalThis.gc?.() },
  () => server.close(),
);
