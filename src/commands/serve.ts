import { Command } from 'commander';
import type { Terminal } from './predict.js';

interface ServeOptions {
  readonly tsConfig?: string;
  readonly modelStore?: string;
  readonly models?: readonly string[];
  readonly python?: string;
  readonly enableModelApi?: true;
  readonly disableTokenAuth?: true;
  readonly configSnapshots: boolean;
}

const EXAMPLES = `
Examples:
  $ marline serve --model-store models --models all
  $ marline serve --model-store models --models fraud.mar digits=mnist.mar --enable-model-api
  $ marline serve --ts-config config.properties

Without --ts-config, the newest snapshot in logs/config is read, else config.properties of the current folder. Inference listens on
http://127.0.0.1:8080, management on 8081, metrics on 8082, gRPC on 7070 and 7071, unless the configuration says
otherwise.
SIGTERM and SIGINT answer what was accepted, then end the server.`;

/** `marline serve`: the standalone server, in the foreground, with TorchServe's options. */
export function serveCommand(terminal: Terminal = process): Command {
  return new Command('serve')
    .description(
      'serve the archives of a folder over HTTP and gRPC, with the addresses and options of TorchServe',
    )
    .option('--ts-config <file>', 'configuration in the form of config.properties')
    .option('--model-store <folder>', 'folder of the archives')
    .option('--models <model...>', 'what to load at start: [name=]file of the model store, or all')
    .option(
      '-e, --python <path>',
      'the Python of archives with Python handlers (marline doctor says what it lacks)',
    )
    .option('--enable-model-api', 'let the management API register and unregister models')
    .option(
      '--dt, --disable-token-auth',
      'ask nobody for tokens; without it requests need the keys of key_file.json',
    )
    .option('--ncs, --no-config-snapshots', 'neither read nor write snapshots of what is served')
    .option('--start', 'for scripts made for TorchServe: the default')
    .option('--foreground', 'for scripts made for TorchServe: the default')
    .addHelpText('after', EXAMPLES)
    .action((options: ServeOptions) => serve(options, terminal));
}

/** Resolves when the server was asked to stop and has stopped. */
async function serve(options: ServeOptions, terminal: Terminal): Promise<void> {
  // Nest takes half a second to load: the other commands do without.
  const { loadConfiguration } = await import('../configuration.js');
  const { runServer } = await import('../run-server.js');
  const configuration = loadConfiguration({
    commandLine: {
      model_store: options.modelStore,
      load_models: options.models?.join(','),
      python: options.python,
      enable_model_api: options.enableModelApi && 'true',
      disable_token_authorization: options.disableTokenAuth && 'true',
    },
    tsConfig: options.tsConfig,
    environment: process.env,
    directory: process.cwd(),
    snapshots: options.configSnapshots,
  });
  await runServer(configuration, terminal);
}
