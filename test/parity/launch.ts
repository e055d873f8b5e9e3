import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfiguration } from '../../src/configuration.js';
import { startServer } from '../../src/server.js';
import { freePort } from '../support/free-port.js';
import type { RecordedConfig } from './records.js';
import { PORT_NAMES, STORE, fill, type Ports, type RunFolder } from './run-folder.js';

/** A server that answers, and where. */
export interface LaunchedServer {
  readonly ports: Readonly<Partial<Record<'inference' | 'management' | 'metrics', number>>>;
  readonly grpcPorts: Readonly<Record<'inference' | 'management', number>>;
  close(): Promise<void>;
}

/** How the server of a recorded run is started. */
export interface Launcher {
  /** The folder of archives that a run gets a copy of, and that archives are downloaded from. */
  store(): Promise<string>;
  /** The ports that its configuration names. */
  ports(config: RecordedConfig): Promise<Ports>;
  start(folder: RunFolder): Promise<LaunchedServer>;
}

const START_LIMIT_MS = 120_000;
const START_POLL_MS = 100;
const STOP_LIMIT_MS = 20_000;
const store = () => Promise.resolve(STORE);

/**
 * Starts Marline in this process, on ports that the system chooses.
 * @param python the interpreter of archives with Python handlers; needed where there are such
 */
export function inThisProcess(python?: string): Launcher {
  return {
    store,
    async ports({ properties: { inference_address, management_address } }) {
      // Two planes on one port stay so; the port 0 would be another one for each.
      const http = inference_address === management_address ? String(await freePort()) : '0';
      return {
        INFERENCE_PORT: http,
        MANAGEMENT_PORT: http,
        METRICS_PORT: '0',
        GRPC_INFERENCE_PORT: '0',
        GRPC_MANAGEMENT_PORT: '0',
      };
    },
    async start({ path, modelStore, config }) {
      const { args = [], env = {} } = config;
      const flag = (name: string) => (args.includes(name) ? 'true' : undefined);
      const configuration = loadConfiguration({
        directory: path,
        environment: env,
        commandLine: {
          model_store: modelStore,
          cache_dir: `${path}/cache`,
          disable_token_authorization: flag('--disable-token-auth'),
          enable_model_api: flag('--enable-model-api'),
          python,
          grpc_inference_port: '0',
          grpc_management_port: '0',
        },
      });
      const server = await startServer(configuration, [], false);
      if (server.grpc === undefined) throw new Error('The packages of gRPC are not installed.');
      const portOf = (address: object | undefined) =>
        address !== undefined && 'port' in address ? Number(address.port) : undefined;
      const { inference, management, metrics } = server.addresses;
      return {
        ports: { inference: portOf(inference), management: portOf(management), metrics: portOf(metrics) },
        grpcPorts: {
          inference: portOf(server.grpc.inference) ?? 0,
          management: portOf(server.grpc.management) ?? 0,
        },
        close: () => server.close(),
      };
    },
  };
}

/**
 * Starts a server with a command of a shell, in the folder of the run: such as the real TorchServe. The recorded arguments are put behind it.
 * @param command with `${MODEL_STORE}` and `${CONFIG}` for what it is to serve
 * @example withCommand('torchserve --start --foreground --model-store ${MODEL_STORE} --ts-config ${CONFIG}')
 */
export function withCommand(command: string): Launcher {
  return {
    store,
    async ports() {
      const ports = await Promise.all(PORT_NAMES.map(() => freePort()));
      return Object.fromEntries(PORT_NAMES.map((name, index) => [name, String(ports[index])])) as Ports;
    },
    async start({ path, properties, values, config }) {
      const line = [fill(command, { ...values, CONFIG: properties }), ...(config.args ?? [])].join(' ');
      // TorchServe keeps the PID of the only server there.
      const temporary = join(path, 'tmp');
      mkdirSync(temporary);
      // In a group of its own, so that whatever the command starts can be ended with it.
      const child = spawn(line, {
        shell: true,
        cwd: path,
        env: { ...process.env, TMPDIR: temporary, ...config.env },
        detached: true,
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      const ended = once(child, 'exit');
      const signal = (name: NodeJS.Signals) => {
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, name);
      };
      const port = (name: (typeof PORT_NAMES)[number]) => Number(values[name]);
      const ports = {
        inference: port('INFERENCE_PORT'),
        management: port(
          config.properties['management_address']?.includes('INFERENCE_PORT') === true
            ? 'INFERENCE_PORT'
            : 'MANAGEMENT_PORT',
        ),
        metrics: port('METRICS_PORT'),
      };
      const close = async () => {
        signal('SIGTERM');
        const late = sleep(STOP_LIMIT_MS, undefined, { ref: false }).then(() => signal('SIGKILL'));
        await Promise.race([ended, late]);
        await ended;
      };
      const failed = ended.then(([code]) => {
        throw new Error(`"${line}" ended with ${code} before it listened.`);
      });
      const listening = Promise.all([untilOpen(ports.inference), untilOpen(ports.management)]);
      await Promise.race([failed, listening]).catch(async (error: unknown) => {
        await close();
        throw error;
      });
      return {
        ports,
        grpcPorts: { inference: port('GRPC_INFERENCE_PORT'), management: port('GRPC_MANAGEMENT_PORT') },
        close,
      };
    },
  };
}

async function untilOpen(port: number): Promise<void> {
  const giveUpAt = performance.now() + START_LIMIT_MS;
  while (!(await isOpen(port))) {
    if (performance.now() > giveUpAt) throw new Error(`Nothing listens on port ${port}.`);
    await sleep(START_POLL_MS);
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket.destroy() !== undefined));
    socket.on('error', () => resolve(false));
  });
}
