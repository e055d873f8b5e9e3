import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { isAlive, parseIdentity } from '#libs/archive';
import { parseProperties } from '../../src/config-properties.js';
import { run } from '../../src/program.js';
import { stopServer } from '../../src/stop-server.js';
import { RecordedTerminal } from '../cli/terminal.js';
import { MarlineProcess } from '../standalone/server-process.js';
import { freePort } from '../support/free-port.js';
import { pythonVenv } from '../support/python-venv.js';
import {
  COMMANDS,
  CONFIGURATIONS,
  FORGOTTEN,
  MODELS,
  RESTART,
  SNAPSHOTS,
  STARTUP_LINES,
  inOurWords,
  type CommandRecord,
} from './recorded-server-starts.js';
import { SERVER_DIFFERENCES, STARTUP_DIFFERENCES } from './server-differences.js';

const { python, missing } = await pythonVenv();
if (missing !== undefined) console.warn(`Snapshots of server.jsonl are not replayed: ${missing}.`);

const store = fileURLToPath(new URL('../fixtures/torchserve-store/', import.meta.url));
const differing = new Set(SERVER_DIFFERENCES.flatMap(({ records }) => records));
/** The ports of the recorded configurations, by their placeholders. */
const RECORDED_PORTS = {
  INFERENCE_PORT: '18080',
  MANAGEMENT_PORT: '18081',
  METRICS_PORT: '18082',
  GRPC_INFERENCE_PORT: '18070',
  GRPC_MANAGEMENT_PORT: '18071',
};
const LIFECYCLE = ['start-twice', 'stop-running', 'stop-again', 'bad-java-home'];
const SETUP_MS = 120_000;

let folder: string;
let pidFile: string;
let ports: Record<keyof typeof RECORDED_PORTS, string>;
const home = process.cwd();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'marline-command-'));
  mkdirSync(join(folder, 'tmp'));
  cpSync(store, join(folder, 'store'), { recursive: true });
  pidFile = join(folder, 'tmp/.model_server.pid');
  const names = Object.keys(RECORDED_PORTS) as (keyof typeof RECORDED_PORTS)[];
  const free = await Promise.all(names.map(async (name) => [name, String(await freePort())] as const));
  ports = Object.fromEntries(free) as typeof ports;
  configure({});
});
afterEach(() => stopServer(pidFile));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes the recorded configuration `base` with more lines. */
function configure(properties: Readonly<Record<string, string>>): void {
  const base = {
    inference_address: `http://127.0.0.1:${ports.INFERENCE_PORT}`,
    management_address: `http://127.0.0.1:${ports.MANAGEMENT_PORT}`,
    metrics_address: `http://127.0.0.1:${ports.METRICS_PORT}`,
    grpc_inference_port: ports.GRPC_INFERENCE_PORT,
    grpc_management_port: ports.GRPC_MANAGEMENT_PORT,
    number_of_netty_threads: '4',
    disable_token_authorization: 'true',
    enable_model_api: 'true',
  };
  const lines = Object.entries({ ...base, ...properties }).map(
    ([key, value]) => `${key}=${onOurPorts(value)}`,
  );
  writeFileSync(join(folder, 'config.properties'), lines.join('\n'));
}

function onOurPorts(text: string): string {
  return Object.entries(RECORDED_PORTS).reduce(
    (replaced, [name, recorded]) => replaced.replaceAll(recorded, ports[name as keyof typeof ports]),
    text,
  );
}

/** What is different in every run, as the records have it. */
function scrub(text: string): string {
  const placeholders = [
    [join(folder, 'store'), '${MODEL_STORE}'],
    [folder, '${RUN}'],
    ...Object.entries(ports).map(([name, port]) => [port, `\${${name}}`]),
  ] as const;
  return placeholders.reduce((scrubbed, [value, name]) => scrubbed.replaceAll(value, name), text);
}

const start = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  new MarlineProcess(['serve', ...args], { cwd: folder, env: { TMPDIR: join(folder, 'tmp'), ...env } });

/** True when it listens, false when it has ended. */
async function isRunning(server: MarlineProcess): Promise<boolean> {
  return Promise.race([
    server.exited().then(() => false),
    server.printed('Model server started.').then(() => true),
  ]);
}

async function manage(method: string, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${ports.MANAGEMENT_PORT}${path}`, { method });
  return { status: response.status, text: await response.text() };
}

/** A command line that ends by itself, in this process, in the recorded folder. */
async function command({ request }: CommandRecord) {
  const terminal = new RecordedTerminal();
  const environment = { TMPDIR: join(folder, 'tmp'), ...request.env };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  process.chdir(folder);
  try {
    const exitCode = await run(['serve', ...request.argv.slice(1)], terminal);
    return { exitCode, output: scrub(`${terminal.stdout.text}${terminal.stderr.text}`) };
  } finally {
    process.chdir(home);
    vi.unstubAllEnvs();
  }
}

function check(record: CommandRecord, { exitCode, output }: { exitCode: number; output: string }): void {
  const { response } = record;
  expect(exitCode).toBe(response.exitCode);
  const lines = `${response.stdout}${response.stderr}`.trim().split('\n');
  // A refused command line is preceded by how to use it.
  const said = response.exitCode === 2 ? lines.slice(-1) : lines;
  for (const line of said.map(inOurWords))
    if (differing.has(record.name)) expect(output).not.toContain(line);
    else expect(output).toContain(line);
}

const recorded = (name: string) => COMMANDS.find((record) => record.name === name)!;

describe('the records of server.jsonl', () => {
  it('are all replayed, and differences are of records that are there', () => {
    expect(FORGOTTEN).toEqual([]);
    const names = new Set([...COMMANDS, ...MODELS, ...CONFIGURATIONS].map(({ name }) => name));
    expect([...differing].filter((name) => !names.has(name))).toEqual([]);
    const beginnings = STARTUP_DIFFERENCES.flatMap(({ lines }) => lines);
    expect(
      beginnings.filter((beginning) => !STARTUP_LINES.some((line) => line.startsWith(beginning))),
    ).toEqual([]);
  });
});

describe('torchserve, with marline serve in its place', () => {
  it('has all its options', async () => {
    const { response } = recorded('help');
    const { exitCode, output } = await command(recorded('help'));
    expect(exitCode).toBe(response.exitCode);
    const options = new Set(response.stdout.match(/(?<=\s|\[)--?[a-z][a-z-]*/g));
    expect(options.size).toBe(20);
    for (const option of options) expect(output).toMatch(new RegExp(`(?:^|\\s)${option}[\\s,]`));
  });

  it.each(COMMANDS.filter(({ name }) => ![...LIFECYCLE, 'help', 'stop-orphan-pid-file'].includes(name)))(
    'answers $name with its exit code, and its text unless that is listed',
    async (record) => check(record, await command(record)),
  );

  it('removes the PID file of a process that is gone', async () => {
    writeFileSync(pidFile, '4194999', { mode: 0o600 });
    const record = recorded('stop-orphan-pid-file');
    check(record, await command(record));
    expect(existsSync(pidFile)).toBe(false);
  });

  it(
    'starts in the background with the recorded lines, is there once, and stops',
    async () => {
      configure({});
      const args = ['--start', '--ncs', '--ts-config', 'config.properties', '--model-store', 'store'];
      // The variable of another record: there is no Java that it could be about.
      const starting = start(args, recorded('bad-java-home').request.env);
      const exitCode = await starting.exited();
      const output = scrub(starting.output);
      check(recorded('bad-java-home'), { exitCode: exitCode as number, output });
      const [pid, identity = ''] = readFileSync(pidFile, 'utf8').split('\n');
      const server = parseIdentity(identity)!;
      expect(String(server.pid)).toBe(pid);

      const ours = output.split('\n').map((line) => line.replace(/^\[Marline\].*?\[Server\] /, ''));
      const without = STARTUP_DIFFERENCES.flatMap(({ lines }) => lines);
      for (const line of STARTUP_LINES) {
        const wanted = line.replace('CPUs: 2', `CPUs: ${availableParallelism()}`);
        const found = ours.some(
          (each) => each === wanted || each.startsWith(`${wanted} (`) || each.includes(`${wanted}.`),
        );
        expect([line, found]).toEqual([line, !without.some((beginning) => line.startsWith(beginning))]);
      }
      expect(ours).toContain('Model server started.');

      for (const name of ['start-twice', 'stop-running', 'stop-again'])
        check(recorded(name), await command(recorded(name)));
      expect(existsSync(pidFile)).toBe(false);
      await expect.poll(() => isAlive(server), { timeout: 10_000 }).toBe(false);
      const log = readFileSync(join(folder, 'logs/marline.log'), 'utf8');
      expect(log).toContain('Model server stopped.');
    },
    SETUP_MS,
  );
});

describe('--models', () => {
  it.each(MODELS)(
    'serves for $name what TorchServe does, unless that is listed',
    async ({ name, request, running, list }) => {
      configure({ default_workers_per_model: request.default_workers_per_model });
      const server = start(['--ts-config', 'config.properties', '--model-store', 'store', ...request.argv]);
      const isListed = differing.has(name);
      const ours = { running: await isRunning(server), list: null as string | null };
      if (ours.running) ours.list = (await manage('GET', '/models')).text;
      expect(await server.stop(), server.output).toBe(0);
      if (isListed) expect(ours).not.toEqual({ running, list });
      else expect(ours).toEqual({ running, list });
    },
    SETUP_MS,
  );
});

describe('a configuration', () => {
  it.each(CONFIGURATIONS)(
    'that is wrong as in $name has the recorded end, unless that is listed',
    async ({ name, properties, running, logErrors }) => {
      configure(properties);
      const server = start(['--ncs', '--ts-config', 'config.properties', '--model-store', 'store']);
      const isUp = await isRunning(server);
      const exitCode = await server.stop();
      // TorchServe ends with 0 when it does not start.
      expect(exitCode).toBe(isUp ? 0 : 1);
      const says = running ? '' : logErrors[0]!;
      const same = isUp === running && scrub(server.output).includes(says);
      expect([same, server.output]).toEqual([!differing.has(name), server.output]);
    },
    SETUP_MS,
  );
});

describe.skipIf(python === undefined)('snapshots', () => {
  /** Requests that lead from a record to the next one. */
  const STEPS: Readonly<Record<string, readonly [method: string, path: string, status: number]>> = {
    'snapshot-after-register': ['POST', '/models?url=misc.mar&initial_workers=1&synchronous=true', 200],
    'snapshot-after-scale': ['PUT', '/models/misc?min_worker=1&max_worker=3&synchronous=true', 200],
    'snapshot-after-register-v2': ['POST', '/models?url=echo_v2.mar&initial_workers=1&synchronous=true', 200],
    'snapshot-after-set-default': ['PUT', '/models/echo/2.0/set-default', 200],
    'snapshot-after-unregister': ['DELETE', '/models/misc/1.0', 200],
    'snapshot-after-failed-unregister': ['DELETE', '/models/echo/2.0', 403],
  };
  const kinds = (names: readonly string[]) => names.map((name) => name.replace(/^.*-(?=\w+\.cfg)/, ''));
  const files = () => readdirSync(join(folder, 'logs/config')).toSorted();
  const args = ['--model-store', 'store'];

  /** What is served by a snapshot, with TorchServe's fields. */
  function modelsOf(text: string): unknown {
    const { modelCount, models } = JSON.parse(
      parseProperties(text).get('model_snapshot')!,
      (key, value: unknown) => (['modelUrl', 'waitsForBatch'].includes(key) ? undefined : value),
    ) as Record<string, unknown>;
    return { modelCount, models };
  }

  const expectSnapshot = (name: string) => {
    const { fileNames, newest } = SNAPSHOTS.find((record) => record.name === name)!;
    expect([name, kinds(files())]).toEqual([name, kinds(fileNames)]);
    const ours = readFileSync(join(folder, 'logs/config', files().at(-1)!), 'utf8');
    expect(modelsOf(ours)).toEqual(modelsOf(newest[0]!.text));
  };

  it(
    'are written at the recorded moments with the recorded models, and bring them back',
    async () => {
      configure({ default_workers_per_model: '1', load_models: 'echo.mar', number_of_gpu: '0' });
      const env = { MARLINE_PYTHON: python };
      const first = await start(['--ts-config', 'config.properties', ...args], env).started();
      await expect
        .poll(async () => (await manage('GET', '/models/echo')).text, { timeout: 60_000 })
        .toContain('READY');
      expectSnapshot('snapshot-after-start');
      for (const [name, [method, path, status]] of Object.entries(STEPS)) {
        expect([name, (await manage(method, path)).status]).toEqual([name, status]);
        expectSnapshot(name);
      }
      await first.stop();
      expectSnapshot('snapshot-after-stop');

      const latest = files().at(-1)!;
      const second = await start(args, env).started();
      expect(second.output).toContain(`Config file: logs/config/${latest}`);
      expect((await manage('GET', '/models')).text).toBe(RESTART.list);
      await expect
        .poll(async () => (await manage('GET', '/models/echo/all')).text.match(/READY/g)?.length, {
          timeout: 60_000,
        })
        .toBe(2);
      const stable = (text: string) =>
        (JSON.parse(text) as { workers: object[] }[]).map(({ workers, ...fields }) => ({
          ...fields,
          workers: workers.length,
        }));
      const described = (await manage('GET', '/models/echo/all')).text;
      expect(stable(described)).toMatchObject(stable(RESTART.describe));
      await second.stop();
      expectSnapshot('snapshot-after-restart-stop');
    },
    SETUP_MS * 2,
  );
});
