import { join } from 'node:path';
import { Command, Option } from 'commander';
import { VERSION } from '#libs/common';
import type { Terminal } from './predict.js';

interface ServeOptions {
  readonly version?: true;
  readonly start?: true;
  readonly stop?: true;
  readonly foreground?: true;
  readonly tsConfig?: string;
  readonly modelStore?: string;
  readonly models?: readonly string[];
  readonly python?: string;
  readonly enableModelApi?: true;
  readonly disableTokenAuth?: true;
  readonly configSnapshots: boolean;
  readonly workflowStore?: string;
  readonly logConfig?: string;
  readonly cppLogConfig?: string;
  readonly pluginsPath?: string;
}

const EXAMPLES = `
Examples:
  $ marline serve --model-store models --models all
  $ marline serve --model-store models --models fraud.mar digits=mnist.mar --enable-model-api
  $ marline serve --ts-config config.properties
  $ marline serve --start --ncs --model-store models --models all && marline serve --stop

Without --ts-config, the newest snapshot in logs/config is read, else config.properties of the current folder. Inference listens on
http://127.0.0.1:8080, management on 8081, metrics on 8082, gRPC on 7070 and 7071, unless the configuration says
otherwise.
SIGTERM and SIGINT answer what was accepted, then end the server. --start returns when the server listens, or with the
reason why it does not; from then on its output goes to logs/marline.log.`;

/** `marline serve`: the standalone server, with TorchServe's options. @param finish is told the exit code */
export function serveCommand(terminal: Terminal, finish: (code: number) => void): Command {
  return new Command('serve')
    .description(
      'serve the archives of a folder over HTTP and gRPC, with the addresses and options of TorchServe',
    )
    .addOption(new Option('-v, --version', 'print the version').conflicts(['start', 'stop']))
    .addOption(
      new Option('--start', 'start in the background, unless --foreground is there as well').conflicts(
        'stop',
      ),
    )
    .option('--stop', 'stop the server that was started with --start or --foreground, and wait for its end')
    .option('--foreground', 'stay in the foreground, as without --start, and let --stop find the server')
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
    .option('--workflow-store <folder>', 'for scripts made for TorchServe: no effect')
    .option('--log-config <file>', 'the same; see log_format')
    .option('--cpp-log-config <file>', 'the same')
    .option('--ppath, --plugins-path <path>', 'the same')
    .addHelpText('after', EXAMPLES)
    .action((options: ServeOptions, command: Command) => serve(options, command, terminal, finish));
}

/** Resolves when the server was asked to stop and has stopped; when one in the background has started, or has been stopped. */
async function serve(
  options: ServeOptions,
  command: Command,
  terminal: Terminal,
  finish: (code: number) => void,
): Promise<void> {
  if (options.version) return void terminal.stdout.write(`marline ${VERSION}\n`);
  const { pidFilePath } = await import('../pid-file.js');
  if (options.stop) {
    const { stopServer } = await import('../stop-server.js');
    return void terminal.stdout.write(await stopServer(pidFilePath()));
  }
  const { configuration, warnings } = await configure(options);
  const pidFile = options.start || options.foreground ? pidFilePath() : undefined;
  if (!options.start || options.foreground) {
    const { runServer } = await import('../run-server.js');
    return runServer(configuration, { warnings, pidFile }, terminal);
  }
  finish(await runInBackground(argumentsOf(command), pidFile!, terminal));
}

async function configure(options: ServeOptions) {
  // Nest takes half a second to load: the other commands do without.
  const { loadConfiguration } = await import('../configuration.js');
  const { describeFlagsWithoutEffect } = await import('../torchserve-flags.js');
  const directory = process.cwd();
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
    directory,
    snapshots: options.configSnapshots,
  });
  const flags = {
    workflow_store: options.workflowStore,
    log_config: options.logConfig,
    cpp_log_config: options.cppLogConfig,
    plugins_path: options.pluginsPath,
  };
  return { configuration, warnings: describeFlagsWithoutEffect(flags, directory) };
}

/** What follows `serve`, for another process. */
function argumentsOf({ parent }: Command): readonly string[] {
  const { rawArgs } = parent as Command & { readonly rawArgs: readonly string[] };
  return rawArgs.slice(rawArgs.indexOf('serve') + 1);
}

/** @returns the exit code */
async function runInBackground(
  args: readonly string[],
  pidFile: string,
  terminal: Terminal,
): Promise<number> {
  const { refuseSecond } = await import('../pid-file.js');
  const { startInBackground } = await import('../background.js');
  refuseSecond(pidFile);
  const logFile = join(process.env['LOG_LOCATION'] || 'logs', 'marline.log');
  const { pid, failure } = await startInBackground(args, logFile, terminal);
  if (failure === undefined)
    terminal.stdout.write(
      `Marline runs as process ${pid}; from now on its output goes to ${logFile} only.\n`,
    );
  return failure ?? 0;
}
